"""Verdicts on results: relative to the controls, of one mind with the guard, one sentence on the terminal."""

import io
from pathlib import Path

import pytest
import torch

from benchmarks.rows import read
from selfsup.callbacks.guard.record import warned
from selfsup.evaluation import print_table
from selfsup.evaluation.results.verdict import SHRUNKEN, encoder_rows, judged, sign
from selfsup.methods.failures import COMMON, Bound
from selfsup.terminal import make_console
from tests.evaluation.test_suite import judge
from tests.evaluation.toys import ToyEncoder, coloured


def printed(results: dict, **settings) -> list[str]:
    text = io.StringIO()
    print_table(results, make_console(file=text, width=200), **settings)
    return text.getvalue().splitlines()


def unlabelled(output=None, **settings) -> dict:
    train, test = coloured(80, labels=False), coloured(40, labels=False)
    return judge(ToyEncoder(output=output) if output else None, train, test, **settings)


def test_the_verdict_is_the_line_above_the_table() -> None:
    results = judge()
    found = judged(results, results["rows"][0])
    lines = printed(results)
    assert lines[0] == f"{sign(found.tone, 'utf-8')} {found.headline}."
    assert lines[1].startswith("toy: 80 training")
    assert lines[0][0] in "✓≈✗?"


def test_without_controls_there_is_nothing_to_judge_by() -> None:
    assert printed(judge(controls=False))[0].startswith("toy: 80 training")


def test_of_several_encoders_each_has_a_line_against_its_own_architecture() -> None:
    blind, seeing = ToyEncoder(3, output=lambda x: x * 0 + torch.arange(len(x))[:, None]), ToyEncoder(1)
    wide = ToyEncoder(2)
    wide.recipe = {"name": "another"}
    results = judge({"blind": blind, "[red]\x1b[31m": seeing, "wide": wide})
    rows = {row["name"]: row for row in results["rows"]}
    assert rows["blind"]["untrained"] == rows["[red]\x1b[31m"]["untrained"] == "untrained blind"
    assert rows["wide"]["untrained"] == "untrained wide"
    assert {row["untrained"] for row in results["rows"] if row["role"] != "encoder"} == {None}
    said = [line[2:].partition(":")[0] for line in printed(results)[:3]]
    assert sorted(said) == sorted(["blind", "[red]\\x1b[31m", "wide"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_the_signs_gets_others(encoding: str) -> None:
    buffer = io.BytesIO()
    console = make_console(file=io.TextIOWrapper(buffer, encoding, "backslashreplace"), width=100)
    print_table(judge(), console)
    console.file.flush()
    assert buffer.getvalue()[:1] == b"["
    assert buffer.getvalue()[2:4] == b"] "


def test_features_that_are_constant_have_collapsed_and_others_have_not() -> None:
    same = unlabelled(lambda x: torch.ones_like(x))
    assert judged(same, same["rows"][0]).headline.startswith("The features have collapsed")
    # One large common component: RankMe is near 1, but what is about the mean is as it was.
    offset = unlabelled(lambda x: x + 1000)
    row = offset["rows"][0]
    assert row["scores"]["rankme"]["value"] < 1.5
    assert judged(offset, row).tone == "unknown"
    assert "collapse" not in judged(offset, row).headline


def test_features_that_shrank_beside_the_untrained_ones_are_said_to_have() -> None:
    results = unlabelled(lambda x: torch.cat([x[:, :1], 0 * x[:, 1:]], dim=1))
    found = judged(results, results["rows"][0])
    assert found.tone == "mixed"
    assert "have shrunk to 1.0 dimensions about their mean" in found.headline


def test_features_that_diverged_are_said_to_have() -> None:
    for results in (unlabelled(lambda x: x * torch.nan), judge(ToyEncoder(output=lambda x: x * torch.nan))):
        found = judged(results, results["rows"][0])
        assert found.tone == "bad"
        assert "not finite" in found.headline


def test_with_labels_features_that_are_all_the_same_have_no_score() -> None:
    results = judge(ToyEncoder(output=lambda x: torch.ones_like(x)))
    found = judged(results, results["rows"][0])
    assert (found.tone, found.headline) == (
        "bad",
        "It has no score: the features of all training images are the same",
    )


def test_what_is_shrunken_is_what_the_guard_calls_so() -> None:
    (bound,) = next(failure.bounds for failure in COMMON if failure.name == "shrunken backbone")
    assert bound == Bound("backbone_rankme_centred", below=SHRUNKEN, of_start=True)


def test_no_recorded_run_would_be_called_shrunken_without_its_labels() -> None:
    records = [record for suite in ("digits", "cifar10-cpu", "cifar10-short") for record in read(suite)]
    assert len(records) > 40
    for record in records:
        results = {**record["results"], "labels": False}
        for row in results["rows"]:
            row["scores"] = {name: each for name, each in row["scores"].items() if not each["labels"]}
        assert judged(results, encoder_rows(results)[0]).tone == "unknown", record["command"]


def test_what_the_guard_named_is_read_from_the_runs_folder(tmp_path: Path) -> None:
    assert warned(tmp_path) == []
    (tmp_path / "warnings.csv").write_text("step,name,value,message\n9,a,0,x\n19,b,0,y\n29,a,0,z\n")
    assert warned(tmp_path) == ["a", "b"]
    assert "The collapse guard warned of a, b, and" in printed(unlabelled(), warned=warned(tmp_path))[0]
