import io
import json

import pytest
import torch
from rich.console import Console

from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.errors import UsageError
from selfsup.evaluation import evaluate, print_table, write_results
from tests.evaluation.toys import OnDemand, ToyEncoder, coloured

SPECTRAL = ["rankme", "rankme-centred", "alpha-req", "nesum", "participation-ratio", "stable-rank"]
SHOTS = ["protocols.nshot.shots=[5]"]
DATA = {"name": "toy", "workers": 0, "max_unreadable": 0.5}


def judge(encoder=None, train=None, test=None, overrides=(), **settings):
    encoder = encoder or ToyEncoder()
    typed = ["encoder=x", *SHOTS, "protocols.nshot.draws=4", "protocols.knn.k=[20]", *overrides]
    protocols = load_config("evaluate", typed)["protocols"]
    train, test = train or coloured(80), test or coloured(40, seed=1)
    return evaluate(encoder, train, test, DATA, protocols=protocols, **settings)


def printed(results) -> str:
    text = io.StringIO()
    print_table(results, Console(file=text))
    return text.getvalue()


def test_every_row_has_every_protocol_with_its_particulars():
    results = judge(untrained_seeds=2)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["encoder", "untrained", "untrained 2", "pixels", "pixels, PCA"]
    assert [row["encoder"] for row in rows.values()] == ["toy-0", "toy-100", "toy-101", None, None]
    assert (results["encoder"], results["data"], results["n_train"], results["n_test"]) == (
        "toy-0",
        "toy",
        80,
        40,
    )
    assert results["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    for row in rows.values():
        assert list(row["scores"]) == ["knn", "linear", "5-shot", *SPECTRAL]
        for name, score in row["scores"].items():
            assert score["protocol"] == name
            assert score["reason"] is None or name == "alpha-req"  # 16 dimensions are too few for it
            assert score["n_train"] == 80
            assert "test" not in score["split"]
        for name in ("knn", "linear", "5-shot"):
            score = row["scores"][name]
            low, high = score["interval"]
            assert 0 <= low <= score["value"] <= high <= 1
    # The classes differ in colour: pixels tell them apart.
    assert rows["pixels"]["scores"]["linear"]["value"] > 0.9
    assert rows["pixels"]["dim"] == 3 * 8 * 8


def test_is_repeatable_and_leaves_the_encoder_as_it_was():
    encoder = ToyEncoder().train()
    assert judge(encoder) == judge(encoder)
    assert encoder.training


def test_test_labels_change_accuracies_but_no_selection():
    one = judge()
    other = coloured(40, seed=1)
    other.labels = other.labels.roll(1)
    two = judge(test=other)
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert a["scores"]["linear"]["settings"] == b["scores"]["linear"]["settings"]
        assert a["scores"]["linear"]["value"] != b["scores"]["linear"]["value"]


def test_without_labels_there_are_label_free_scores_and_a_word_about_it():
    results = judge(train=coloured(80, labels=False), test=coloured(40, labels=False))
    assert results["labels"] is False
    assert all(list(row["scores"]) == SPECTRAL for row in results["rows"])
    text = printed(results)
    assert "No labels" in text
    assert "kNN" not in text


def test_without_controls_there_is_one_row():
    assert [row["name"] for row in judge(controls=False)["rows"]] == ["encoder"]


def test_features_that_are_not_finite_leave_a_reason_in_their_row_only():
    results = judge(ToyEncoder(output=lambda x: torch.where(x == x.max(), torch.nan, x)))
    broken, untrained = results["rows"][:2]
    for score in broken["scores"].values():
        assert score["value"] is None
        assert "training images are not finite" in score["reason"]
    assert [name for name, score in untrained["scores"].items() if score["value"] is None] == ["alpha-req"]
    assert "not finite" in " ".join(printed(results).split())


def test_constant_features_have_a_rank_but_no_accuracy():
    scores = judge(ToyEncoder(output=lambda x: torch.ones_like(x)))["rows"][0]["scores"]
    for name in ("knn", "linear", "5-shot"):
        assert "are the same" in scores[name]["reason"]
    assert scores["rankme"]["value"] == pytest.approx(1, abs=1e-3)
    assert "constant" in scores["rankme-centred"]["reason"]


def test_protocols_that_cannot_run_say_why_beside_those_that_can():
    scores = judge(train=coloured(16), overrides=["protocols.knn.k=[17]"])["rows"][0]["scores"]
    assert "k=17" in scores["knn"]["reason"]
    assert "fewer than 5 shots" in scores["5-shot"]["reason"]
    assert scores["linear"]["value"] is not None
    assert "16 samples are few for 16 dimensions" in scores["rankme"]["flags"][0]


def test_test_classes_absent_from_training_count_as_wrong():
    train, test = coloured(80), coloured(40, seed=1)
    known = train.labels != 3
    results = judge(train=ImageArray(train.images[known], train.labels[known]), test=test)
    for name in ("knn", "linear", "5-shot"):
        score = results["rows"][-2]["scores"][name]
        assert 0.6 < score["value"] <= 0.75
        assert score["flags"] == [
            "10 of 40 test samples count as wrong, as their classes are absent from training"
        ]


def test_fewer_than_a_hundred_queries_and_a_single_one():
    results = judge(test=coloured(1, seed=1))
    assert results["n_test"] == 1
    scores = results["rows"][0]["scores"]
    assert [name for name, score in scores.items() if score["reason"]] == ["alpha-req"]


def test_unreadable_images_are_left_out_and_named():
    results = judge(train=OnDemand(60, broken=(3, 7)), test=OnDemand(20, broken=(1,)))
    assert (results["n_train"], results["n_test"]) == (58, 19)
    assert [name for name, _ in results["skipped"]["train"]] == ["picture 3", "picture 7"]
    assert "picture 1'" in printed(results)
    with pytest.raises(UsageError, match="4 of 5 images cannot be read, the first 'picture 0'"):
        judge(train=OnDemand(60), test=OnDemand(5, broken=(0, 1, 2, 3)))


def test_bfloat16_is_flagged_where_it_fakes_rank():
    results = judge(precision="bfloat16")
    assert any("bfloat16" in flag for flag in results["rows"][0]["scores"]["rankme"]["flags"])
    assert not any("bfloat16" in flag for flag in results["rows"][-1]["scores"]["rankme"]["flags"])


def test_mistakes_are_found_before_anything_is_encoded():
    def fail(features):
        raise AssertionError("encoded")

    encoder = ToyEncoder(output=fail)
    one_class = coloured(20)
    one_class.labels = torch.zeros_like(one_class.labels)
    for settings, sentence in (
        ({"train": one_class}, "one class"),
        ({"train": coloured(1)}, "1 training"),
        ({"overrides": ["protocols.knn.k=[20,0]"]}, r"knn.k is \[20, 0\]; it has to be one or more"),
        ({"overrides": ["protocols.knn.k=[]"]}, r"knn.k is \[\]; it has to be one or more"),
        ({"overrides": ["protocols.nshot.shots=[0]"]}, r"nshot.shots is \[0\]; it has to be one or more"),
        ({"overrides": ["protocols.knn.temperature=0.0"]}, "temperature is 0.0; it has to be above 0"),
        ({"overrides": ["protocols.linear.holdout=1.0"]}, "holdout is 1.0; it has to be above 0 and below"),
        ({"precision": "float8"}, "precision must be float32, bfloat16 or auto, not 'float8'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            judge(encoder, **settings)


def test_the_table_shows_rows_columns_and_intervals():
    results = judge()
    text = printed(results)
    for word in ("kNN", "linear", "5-shot", "RankMe", "encoder", "untrained", "pixels", "toy-0"):
        assert word in text
    score = results["rows"][0]["scores"]["knn"]
    assert f"{100 * score['value']:.1f} [{100 * score['interval'][0]:.1f}," in text
    assert "\x1b" not in text
    assert "centred" not in text


def test_results_are_never_written_over_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = tmp_path / "run" / "encoder"
    encoder.mkdir(parents=True)
    results = {"data": "toy", "value": 0.5}
    names = [write_results(results, None, str(encoder)).name for _ in range(3)]
    assert names == ["results.json", "results-toy-2.json", "results-toy-3.json"]
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    names = [str(write_results(results, None, "timm:hf_hub/resnet18")) for _ in range(2)]
    assert names == ["results-hf_hub-resnet18.json", "results-hf_hub-resnet18-2.json"]
    assert write_results(results, "new/here.json", "timm:resnet18").is_file()
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        write_results({}, "new/here.json", "timm:resnet18")
    assert json.loads((tmp_path / "new" / "here.json").read_text()) == results
