"""Failures that are caused on purpose are named by what they are, and healthy runs are left alone."""

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import read
from selfsup.callbacks.guard.watch import Watch
from selfsup.callbacks.metrics import MetricsFile
from selfsup.commands import main
from selfsup.objectives import floors
from tests.callbacks.guard.provoked import PROVOKED, SMALL
from tests.methods.building import failures

HEALTHY = [row for row in read("guard") if row["kind"] == "healthy"]
CASES = {case.name: case for case in PROVOKED}
# A case of each kind, of those the one that is named first.
QUICK = (
    "no stop-gradient",
    "no centring",
    "momentum too low (DINO)",
    "no variance term",
    "learning rate x 100 (simclr)",
    "loss of visible patches",
)
STEPS = 200


class Unnamed(Exception):
    """The steps are over in which the failure had to be named."""


@pytest.mark.parametrize("name", QUICK)
def test_a_failure_is_named_within_200_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, write = CASES[name], MetricsFile.on_train_batch_end

    def until(self: MetricsFile, trainer: Any, *rest: Any) -> None:
        write(self, trainer, *rest)
        if trainer.global_step >= STEPS:
            raise Unnamed

    monkeypatch.setattr(MetricsFile, "on_train_batch_end", until)
    settings = [f"experiment=digits_{case.method}", "batch_size=64", "online=none", *SMALL, *case.settings]
    settings += ["guard.every=25", "guard.stop=true", "report=false", "evaluate=false"]
    assert main(["train", f"out={tmp_path}", "name=run", "trainer.accelerator=cpu", *settings]) == 1
    with (tmp_path / "run" / "warnings.csv").open(newline="") as file:
        assert case.named in {row["name"] for row in csv.DictReader(file)}


def named(method: str, looks: list[dict[str, float]], steps: int) -> list[tuple[str, int]]:
    """What the guard would say of signals that were written down: failures, and when it names them."""
    watch, found = Watch(failures(method)), []
    marks = {"trivial": floors.dino(512), "floor": 0.0}
    for look in looks:
        told = watch.look(int(look["step"]), look["step"] / steps, look, marks)
        found += [(warned.name, warned.step) for warned in told]
    return found


@pytest.mark.parametrize(
    "row", [row for row in read("guard") if row["kind"] == "provoked"], ids=lambda row: row["failure"]
)
def test_of_what_was_measured_each_failure_has_its_name(row: dict[str, Any]) -> None:
    case = CASES[row["failure"]]
    found = named(case.method, row["looks"], row["steps"])
    assert found == [(one["name"], one["step"]) for one in row["warnings"]]
    assert min(step for name, step in found if name == case.named) <= STEPS


def test_of_what_was_measured_fifty_healthy_runs_have_none() -> None:
    rows = [row for row in HEALTHY if row.get("batch_size") != 8]
    assert len({(row["method"], row["seed"]) for row in rows}) == 50
    for row in HEALTHY:
        assert row["looks"][-1]["step"] >= STEPS
        assert named(row["method"], row["looks"], row["steps"]) == [], (row["method"], row["seed"])
        assert row["warnings"] == []


def test_healthy_runs_stay_clear_of_every_bound() -> None:
    """By a tenth of the bound's value: a failure that a little noise would name is not watched for."""
    for row in HEALTHY:
        start = row["looks"][0]
        for failure in failures(row["method"]):
            for look in row["looks"]:
                if failure.applies(look):
                    share = look["step"] / row["steps"]
                    assert not failure.holds(int(look["step"]), share, look, start, slack=0.1), failure.name
