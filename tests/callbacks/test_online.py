"""The evaluation while training: what it writes, keeps and chooses, and that training does not feel it."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from selfsup import load_encoder
from selfsup.callbacks.checkpoint_files import checkpoints, read_checkpoint
from selfsup.callbacks.online import FEWEST, OnlineEvaluation, append, eigenvalues
from selfsup.callbacks.online_settings import SELECTING, check_online, choice
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import ImageArray, load_data
from selfsup.errors import UsageError
from selfsup.evaluation import Features, extract, knn, panel, rankme
from selfsup.evaluation.features.images import fitting
from selfsup.evidence import BEST, STOP, Evidence
from selfsup.evidence import _all as known_evidence

VIT = ("depth=1", "embed_dim=32", "num_heads=2")
SMALL = (
    "trainer.log_every_n_steps=1",
    "evaluate=false",
    "report=false",
    "traceback=true",
)
LOOKS = ("online.every_steps=2", "online.bank=60", "online.queries=30")


def run(out: Path, name: str, *overrides: str) -> Path:
    vit = [] if "backbone=resnet10" in overrides else [f"backbone.model_args.{each}" for each in VIT]
    assert main(["train", f"out={out}", f"name={name}", *SMALL, *vit, *overrides]) == 0
    return out / name


def looks(folder: Path, name: str = "online.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoints(folder)[-1])["state_dict"]


@pytest.mark.parametrize(
    "settings",
    [
        ("method=barlow", "backbone.model_args.drop_path_rate=0.3"),
        ("method=dino", "trainer.accumulate_grad_batches=2", "batch_size=32"),
        ("method=simclr", "backbone=resnet10", "batch_size=16"),
    ],
    ids=["dropout", "teacher and accumulation", "batch norm"],
)
def test_weights_are_the_same_to_the_bit_with_and_without_it(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    common = [*settings, "trainer.max_steps=5"]
    with_it = run(tmp_path, "with", *common, *LOOKS)
    without = run(tmp_path, "without", *common, "online=none")
    assert [row["step"] for row in looks(with_it)] == ["2", "4"]
    assert not (without / "online.csv").exists()
    theirs, ours = state(without), state(with_it)
    assert theirs.keys() == ours.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


class Here:
    """As much of Lightning's trainer as a look reads."""

    global_step, current_epoch, is_global_zero, loggers = 7, 3, True, ()


class Learner(torch.nn.Module):
    """As much of a method as a look reads."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = load_encoder("timm:test_vit")

    def learned_encoder(self) -> torch.nn.Module:
        return self.encoder

    def average(self) -> torch.nn.Module | None:
        return None


def callback(folder: Path, source: object, *overrides: str, seed: int = 0) -> OnlineEvaluation:
    settings = load_config("train", overrides)["online"]
    return OnlineEvaluation(source, folder, settings, settings["best"], 0, seed, {}, Console(quiet=True))


def test_a_look_leaves_modes_buffers_gradients_and_generators_as_they_were(tmp_path: Path) -> None:
    source, _ = load_data(load_config("train", [])["data"])
    learner = Learner().train()
    learner.encoder.model.blocks[0].eval()
    for parameter in learner.parameters():
        parameter.grad = torch.ones_like(parameter)
    modes = [module.training for module in learner.modules()]
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    generator = torch.get_rng_state()
    callback(tmp_path, source, "online.bank=12", "online.queries=6").look(Here(), learner)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in learner.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert all((parameter.grad == 1).all() for parameter in learner.parameters())
    assert all(parameter.requires_grad for parameter in learner.parameters())


def test_the_scores_are_those_of_the_evaluation(tmp_path: Path) -> None:
    folder = run(tmp_path, "one", "method=barlow", "trainer.max_steps=2", *LOOKS)
    (row,) = looks(folder)
    source, _ = load_data(load_config("train", [])["data"])
    judge = callback(tmp_path, source, *LOOKS)
    encoder = load_encoder(folder / "encoder")
    bank, queries = (
        extract(encoder, part, fitting(encoder), encoder.mean, encoder.std)
        for part in (judge.bank, judge.queries)
    )
    told = knn(bank.x, bank.labels, queries.x, k=20).argmax(1) == queries.labels
    assert float(row["online/knn"]) == pytest.approx(told.double().mean().item())
    assert float(row["online/rankme"]) == pytest.approx(rankme(torch.cat([bank.x, queries.x])), rel=1e-4)
    names = {name.removeprefix("online/") for name in row if name.startswith("online/")}
    assert names == {"knn", *panel(torch.rand(40, 4))}
    (row,) = looks(folder, "spectrum.csv")
    covariance = torch.cov(torch.cat([bank.x, queries.x]).double().t(), correction=0)
    expected = torch.linalg.eigvalsh(covariance).flip(0)[:16].tolist()
    assert [float(row[f"eigenvalue-{i + 1}"]) for i in range(16)] == pytest.approx(expected, rel=1e-4)
    assert row.keys() == {"step", "epoch", *(f"eigenvalue-{i + 1}" for i in range(16))}


def test_features_that_are_not_finite_have_no_eigenvalues() -> None:
    x = torch.full((5, 3), torch.nan)
    found = eigenvalues([Features(x, None, torch.arange(5), [])])
    assert found == {"eigenvalue-1": None, "eigenvalue-2": None, "eigenvalue-3": None}


def test_a_teacher_and_its_student_are_both_scored(tmp_path: Path) -> None:
    source, _ = load_data(load_config("train", [])["data"])

    class Taught(Learner):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = self.encoder.untrained(seed=5)

        def average(self) -> torch.nn.Module:
            return self.teacher

    learner, judged = Taught(), callback(tmp_path, source)
    found = {name: judged._scores(*judged._features(module)) for name, module in learner.named_children()}
    for saved, other in (("encoder", "teacher"), ("teacher", "student")):
        learner.learned_encoder = lambda saved=saved: getattr(learner, saved)  # type: ignore[method-assign]
        judged.last = 0
        judged.look(SimpleNamespace(global_step=3, current_epoch=0, is_global_zero=False), learner)
        scores = learner.online_scores[1]  # type: ignore[index]
        assert scores["knn"] == found[saved]["knn"]
        assert scores[f"{other}-knn"] == found["teacher" if other == "teacher" else "encoder"]["knn"]
        assert f"{'student' if other == 'teacher' else 'teacher'}-knn" not in scores


def test_the_subset_is_fixed_disjoint_and_of_the_training_split(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    source = ImageArray(torch.randint(0, 256, (200, 3, 8, 8), dtype=torch.uint8, generator=generator))
    place = {image.numpy().tobytes(): i for i, image in enumerate(source.images)}

    def rows(part: ImageArray) -> list[int]:
        return [place[image.numpy().tobytes()] for image in part.images]

    one, again, other = (callback(tmp_path, source, *LOOKS, seed=seed) for seed in (0, 0, 1))
    assert (len(one.bank), len(one.queries)) == (60, 30)
    assert not set(rows(one.bank)) & set(rows(one.queries))
    assert rows(one.bank) == rows(again.bank) == sorted(rows(one.bank))
    assert rows(one.bank) != rows(other.bank)


def test_the_best_encoder_is_kept(tmp_path: Path) -> None:
    settings = ("method=barlow", "trainer.max_steps=8", "online.best=rankme-centred", *LOOKS)
    folder = run(tmp_path, "one", *settings)
    rows = looks(folder)
    best = max(rows, key=lambda row: float(row["online/rankme-centred"]))
    card = json.loads((folder / "encoder-best" / "card.json").read_text())
    assert str(card["steps"]) == best["step"]
    assert card["selected_by"] == "rankme-centred"
    assert card["online"]["rankme-centred"] == pytest.approx(float(best["online/rankme-centred"]))
    assert load_encoder(folder / "encoder-best").dim == 32
    assert sorted(path.name for path in folder.glob("encoder*")) == ["encoder", "encoder-best"]


def test_a_worse_look_keeps_the_encoder_that_was_better(tmp_path: Path) -> None:
    source, _ = load_data(load_config("train", [])["data"])
    judge = callback(tmp_path, source, "online.best=rankme", *LOOKS)
    outcomes = [judge._better({"rankme": value}) for value in (3.0, 2.0, None, 3.0, 3.5)]
    assert outcomes == [True, False, False, False, True]
    other = callback(tmp_path, source, "online.best=rankme", *LOOKS)
    other.load_state_dict(judge.state_dict())
    assert not other._better({"rankme": 3.2})


def test_images_on_disk_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(24):
        pixels = generator.integers(0, 256, (300, 260 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    data = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.image_size=32", "batch_size=8"]
    settings = ["method=barlow", *data, "data.workers=1", "trainer.max_steps=2", "online.every_steps=2"]
    folder = run(tmp_path, "one", *settings, "online.best=rankme")
    (row,) = looks(folder)
    assert "online/knn" not in row
    assert float(row["online/rankme"]) >= 1
    assert json.loads((folder / "encoder-best" / "card.json").read_text())["selected_by"] == "rankme"
    assert "online: RankMe" in capsys.readouterr().out
    assert main(["train", f"out={tmp_path}", "name=two", *data, "online.best=knn"]) == 2
    assert "needs labels" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_three_images_are_enough(tmp_path: Path) -> None:
    picture = torch.arange(FEWEST * 3 * 64, dtype=torch.uint8).view(FEWEST, 3, 8, 8)
    judge = callback(tmp_path, ImageArray(picture, torch.arange(FEWEST)))
    judge.look(Here(), Learner())  # type: ignore[arg-type]
    (row,) = looks(tmp_path)
    assert row["online/knn"] == "0.0"


def test_features_that_diverged_leave_gaps_and_do_not_end_the_run(tmp_path: Path) -> None:
    source, _ = load_data(load_config("train", [])["data"])
    learner = Learner()
    with torch.no_grad():
        next(learner.encoder.model.parameters()).fill_(torch.nan)
    judge = callback(tmp_path, source, "online.bank=40", "online.queries=20")
    judge.look(Here(), learner)  # type: ignore[arg-type]
    (row,) = looks(tmp_path)
    assert {row[name] for name in row if name.startswith("online/")} == {""}
    assert not (tmp_path / "encoder-best").exists()


def test_a_resumed_run_writes_its_rows_anew(tmp_path: Path) -> None:
    path = tmp_path / "online.csv"
    for step, value in ((2, 0.1), (4, 0.2), (6, 0.3), (4, 0.25)):
        append(path, {"step": step, "online/knn": value})
    assert looks(tmp_path) == [{"step": "2", "online/knn": "0.1"}, {"step": "4", "online/knn": "0.25"}]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("online.every_epochs=0", "online.every_epochs is 0"),
        ("online.every_steps=-1", "online.every_steps is -1"),
        ("online.every_steps=1.5", "whole number"),
        ("online.k=0", "online.k is 0"),
        ("online.bank=0", "online.bank is 0"),
        ("online.temperature=0.0", "online.temperature is 0"),
        ("online.precision=half", "float32, bfloat16 or auto, not 'half'"),
        ("online.best=lidar", "online.best: no score 'lidar'"),
        ("trainer.stop=lidar", "trainer.stop: no score 'lidar'"),
        ("trainer.stop_patience=0", "trainer.stop_patience is 0"),
    ],
)
def test_settings_that_cannot_be(override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_online(load_config("train", [override]))


def test_what_keeps_an_encoder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice("auto", BEST, "simclr", labels=True) == ("knn", None)
    assert choice(None, BEST, "simclr", labels=True) == (None, None)
    assert choice("nesum", BEST, "simclr", labels=False) == ("nesum", None)
    known = Evidence("simclr", BEST, False, "nesum", 6, ("digits", "cifar10"), 0.4, 2.5, 1.0, 0.6, 2.5)
    monkeypatch.setattr("selfsup.evidence._all", lambda: [known])
    by, why = choice("auto", BEST, "simclr", labels=False)
    assert by == "nesum"
    assert why is not None
    assert "nesum, which in 6 runs of simclr on digits and cifar10 lost 0.4 points" in why
    by, why = choice("auto", BEST, "diet", labels=False)
    assert by is None
    assert why is not None
    assert "no score without labels was tried on runs of diet" in why
    poor = known._replace(lost=1.2, last=2.0)
    monkeypatch.setattr("selfsup.evidence._all", lambda: [poor])
    by, why = choice("auto", BEST, "simclr", labels=False)
    assert by is None
    assert why is not None
    assert "lost 1.2 points" in why


@pytest.mark.parametrize(("last", "last_worst"), [(0.1, 2.5), (0.4, 1.0)], ids=["median", "worst run"])
def test_a_score_that_chooses_worse_than_the_last_step_chooses_nothing(
    last: float, last_worst: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Evidence("simclr", BEST, False, "nesum", 6, ("digits",), 0.4, 2.5, 1.0, last, last_worst)
    monkeypatch.setattr("selfsup.evidence._all", lambda: [known])
    by, why = choice("auto", BEST, "simclr", labels=False)
    assert by is None
    assert why is not None
    assert "keeps the last encoder alone" in why
    assert f"(the last encoder {last})" in why
    assert f"2.5 ({last_worst}) in the worst" in why


def test_a_held_out_loss_needs_images_that_are_held_out() -> None:
    for setting in ("online.best", "trainer.stop"):
        with pytest.raises(UsageError, match=rf"{setting}=loss-held-out needs images"):
            check_online(load_config("train", [f"{setting}=loss-held-out"]))
    check_online(load_config("train", ["online.best=loss-held-out", "online.held_out=128"]))


def test_auto_ends_no_run_without_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Evidence("simclr", STOP, False, "rankme", 6, ("digits",), 0.5, 3.0, 0.7, 0.0, 0.0)
    monkeypatch.setattr("selfsup.evidence._all", lambda: [known])
    assert choice("auto", STOP, "simclr", labels=False)[0] == "rankme"
    for name, labels in (("simclr", True), ("barlow", False)):
        with pytest.raises(UsageError, match=r"trainer\.stop=auto has nothing to go by"):
            choice("auto", STOP, name, labels)
    with pytest.raises(UsageError, match=r"trainer\.stop=knn needs labels"):
        choice("knn", STOP, "simclr", labels=False)


def test_a_stop_needs_looks() -> None:
    with pytest.raises(UsageError, match="which online=none leaves out"):
        check_online(load_config("train", ["online=none", "trainer.stop=rankme"]))


def test_the_evidence_that_is_shipped_names_scores_that_can_choose() -> None:
    assert known_evidence()
    for each in known_evidence():
        assert each.score in SELECTING
        assert each.labels or each.score != "knn"
