"""Ending a run by a score: when, with what left behind, and the same after a resumption."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from selfsup.callbacks.stopping import Stopping
from selfsup.config import load_config
from selfsup.run.train import train


def looked(watch: Stopping, values: list[float | None], first: int = 1) -> list[bool]:
    """Whether the run is to stop after each look."""
    trainer = SimpleNamespace(should_stop=False)
    stops = []
    for step, value in enumerate(values, first):
        module = SimpleNamespace(online_scores=(step, {watch.score: value}))
        watch._look(trainer, module)  # type: ignore[arg-type]
        watch._look(trainer, module)  # type: ignore[arg-type]  # the same look, at an epoch's end
        stops.append(trainer.should_stop)
    return stops


def test_a_run_ends_once_its_score_has_not_grown_for_so_many_looks() -> None:
    out = io.StringIO()
    watch = Stopping("rankme", 2, Console(file=out, width=200))
    assert looked(watch, [1.0, 3.0, 2.0, 4.0, 4.0, None]) == [False] * 5 + [True]
    assert "stopped at step 6: rankme has not been better in 2 looks since step 4" in out.getvalue()


def test_alpha_req_grows_towards_one() -> None:
    watch = Stopping("alpha-req", 1, Console(quiet=True))
    assert looked(watch, [2.0, 1.5, 0.8, 0.5]) == [False, False, False, True]


def test_a_resumed_run_waits_no_longer_than_one_that_was_not_stopped() -> None:
    values: list[float | None] = [5.0, 4.0, 3.0, 2.0]
    whole = looked(Stopping("rankme", 3, Console(quiet=True)), values)
    first, then = (Stopping("rankme", 3, Console(quiet=True)) for _ in range(2))
    pieces = looked(first, values[:2])
    then.load_state_dict(first.state_dict())
    assert [*pieces, *looked(then, values[2:], first=3)] == whole == [False, False, False, True]


def test_a_run_that_stops_hands_over_its_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [
        "method=barlow",
        "backbone.model_args.depth=1",
        "trainer.max_steps=60",
        "online.bank=60",
        "online.queries=30",
        "guard.enabled=false",
        "online.every_steps=2",
        "online.every_epochs=null",
        "trainer.stop=stable-rank",
        "trainer.stop_patience=1",
        "report=false",
        "evaluate=false",
        f"out={tmp_path}",
        "name=run",
    ]
    folder = train({**load_config("train", typed), "overrides": typed})
    steps = json.loads((folder / "encoder" / "card.json").read_text())["steps"]
    with (folder / "online.csv").open() as file:
        looks = [(int(row["step"]), float(row["online/stable-rank"])) for row in csv.DictReader(file)]
    assert steps == looks[-1][0] < 60
    *before, last = (value for _, value in looks)
    assert last <= max(before)
    assert "stopped at step" in capsys.readouterr().out
