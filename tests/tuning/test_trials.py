"""A trial: its command, what becomes of it, and its score on images that it did not learn from."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.errors import REQUEUE, UsageError
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.label_free.rotation import rotation
from selfsup.tuning.judging import of_part, parts, rotation_of_all
from selfsup.tuning.study import Trial
from selfsup.tuning.trials import Interrupted, Trainer


def made(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    said: str = "",
    record: Any = None,
    number: int = 1,
) -> tuple[Any, list[str]]:
    """The outcome of a trial whose process ends so, and its command."""
    commands: list[str] = []

    def train(self: Trainer, command: list[str], log: Path, lock: Any) -> int:
        commands.extend(command)
        log.write_text(f"something\nselfsup train: {said}\n\n")
        (log.with_suffix("") / "checkpoints").mkdir(parents=True)
        return status

    monkeypatch.setattr(Trainer, "_train", train)
    (folder / "trials").mkdir(exist_ok=True)
    own = {"views.each.scale": [0.5, 1.0]}
    trainer = Trainer(folder, ["method=simclr"], lambda values: own, lambda run: record, "alpha-req")
    return trainer(Trial(number, "running", {"crop": 0.5})), commands


def test_a_trial_has_the_shared_settings_and_then_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"value": 1.25, "interval": None, "flags": ["few"], "reason": None}
    outcome, command = made(tmp_path, monkeypatch, 0, record=record)
    assert outcome == {"value": -0.25, "score": 1.25, "interval": None, "flags": ["few"]}
    assert command == ["method=simclr", "views.each.scale=[0.5,1.0]", f"out={tmp_path}/trials", "name=0001"]
    assert not (tmp_path / "trials" / "0001" / "checkpoints").exists()


def test_the_first_trial_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"value": 1.0, "interval": None, "flags": [], "reason": None}
    assert made(tmp_path, monkeypatch, 0, record=record, number=0)[1] == [
        "method=simclr",
        f"out={tmp_path}/trials",
        "name=0000",
    ]


@pytest.mark.parametrize(
    ("status", "said", "failed", "reason"),
    [
        (1, "stopped at step 50: embeddings are equal", False, "stopped at step 50: embeddings are equal"),
        (
            1,
            "step 3: the loss is not finite; it is saved",
            False,
            "step 3: the loss is not finite; it is saved",
        ),
        (1, "make room", True, "make room"),
        (2, "no setting 'a'", True, "no setting 'a'"),
        (-signal.SIGKILL, "", True, "it was killed by signal 9, as if memory ran out"),
    ],
)
def test_a_trial_that_collapses_is_pruned_and_one_that_breaks_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str, failed: bool, reason: str
) -> None:
    outcome, _ = made(tmp_path, monkeypatch, status, said)
    assert outcome == {"value": None, "failed": failed, "reason": reason}


@pytest.mark.parametrize("status", [REQUEUE, 130, -signal.SIGTERM])
def test_a_trial_that_was_asked_to_end_is_left_to_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with pytest.raises(Interrupted):
        made(tmp_path, monkeypatch, status, "stopped at step 3; continue with resume=x")


def test_features_without_a_score_end_a_trial_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"value": None, "interval": None, "flags": [], "reason": "all features are the same"}
    outcome, _ = made(tmp_path, monkeypatch, 0, record=record)
    assert (outcome["value"], outcome["reason"]) == (None, "all features are the same")
    assert not outcome.get("failed")


def test_held_images_are_a_function_of_the_seed_and_nobody_learns_from_them(tmp_path: Path) -> None:
    data = load_config("train", ["data=digits"])["data"]
    one, same, other = (parts(data, 200, seed) for seed in (0, 0, 1))
    assert torch.equal(one.held, same.held)
    assert not torch.equal(one.held, other.held)
    assert len(one.held) == 200
    whole = torch.cat([one.learned, one.held]).sort().values
    assert torch.equal(whole, torch.arange(len(whole)))
    assert one.fingerprint == other.fingerprint
    (tmp_path / "held.txt").write_text("".join(f"{row}\n" for row in one.held.tolist()))
    held = load_data({**data, **of_part(tmp_path / "held.txt")})[0]
    everything = load_data(data)[0]
    assert held.images is not None
    assert everything.images is not None
    assert torch.equal(held.images, everything.images[one.held])


def test_the_command_s_own_choice_of_images_holds(tmp_path: Path) -> None:
    data = load_config("train", ["data=digits", "data.per_class=30"])["data"]
    labels = load_data({**data, "per_class": None})[0].labels
    assert labels is not None
    found = parts(data, 2000, 0)
    assert len(found.held) == 60  # a fifth
    assert labels[torch.cat([found.learned, found.held])].bincount().tolist() == [30] * 10


def test_data_of_which_none_can_be_held_is_refused() -> None:
    with pytest.raises(UsageError, match="are too few to hold a fifth"):
        parts(load_config("train", ["data=digits", "data.per_class=20"])["data"], 2000, 0)
    with pytest.raises(UsageError, match="learns from all of its images"):
        parts({"name": "mixture"}, 2000, 0)


def test_each_fifth_of_the_held_images_is_judged_once() -> None:
    generator = torch.Generator().manual_seed(0)
    turned = torch.randn(4, 53, 8, generator=generator) + 2 * torch.eye(4, 8)[:, None]
    features = Features(torch.zeros(53, 8), None, [], parts={"turns": part(turned.transpose(0, 1))})
    found = rotation_of_all(features, 0)
    folds = [rotation(turned, 0, fold) for fold in range(5)]
    assert sorted(row for fold in folds for row in fold.rows) == sorted(
        row for row, digit in enumerate(found["told"]) if digit != "."
    )
    assert found["told"].count(".") == 3
    assert found["value"] == pytest.approx(sum(fold.accuracy for fold in folds) / 5)
    digits = [int(digit) / 4 for digit in found["told"] if digit != "."]
    assert found["value"] == pytest.approx(sum(digits) / len(digits))
    low, high = found["interval"]
    assert low < found["value"] < high


def part(x: torch.Tensor) -> Any:
    from selfsup.evaluation.features.extract import Part

    return Part(x, torch.arange(len(x)))
