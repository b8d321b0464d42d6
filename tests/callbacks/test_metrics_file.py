"""``metrics.csv`` has every step once, however often a run is interrupted."""

import csv
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selfsup.callbacks import metrics
from selfsup.callbacks.metrics import MetricsFile

MEASURED = ("images_per_second", "waiting", "memory_gib")


@pytest.fixture(autouse=True)
def _a_second_each_time_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))


def train(
    path: Path, steps: range, every: int = 10, accumulate: int = 1, rank: int = 0, **scalars: float
) -> MetricsFile:
    """What Lightning calls while the optimizer's steps ``steps`` are made."""
    callback = MetricsFile(path, every)
    trainer: Any = SimpleNamespace(
        global_step=steps[0] - 1, current_epoch=0, is_global_zero=rank == 0, callback_metrics={}, loggers=[]
    )
    module: Any = SimpleNamespace(images_per_second=123.4, waiting=0.25, memory_gib=1.5)
    callback.on_train_start(trainer, module)
    for step in steps:
        for part in range(accumulate):
            if part == accumulate - 1:
                trainer.global_step = step
            trainer.current_epoch = step // 5
            values = {"loss": 1 / step, "lr": 0.1} | scalars
            trainer.callback_metrics = {name: torch.tensor(value) for name, value in values.items()}
            callback.on_train_batch_end(trainer, module, None, None, 0)
    return callback


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(path: Path) -> list[int]:
    return [int(row["step"]) for row in rows_of(path)]


def test_a_row_at_the_first_step_and_every_few(tmp_path: Path) -> None:
    train(tmp_path / "m.csv", range(1, 26))
    rows = rows_of(tmp_path / "m.csv")
    assert [int(row["step"]) for row in rows] == [1, 10, 20]
    assert [float(row["loss"]) for row in rows] == pytest.approx([1, 0.1, 0.05])
    assert [int(row["epoch"]) for row in rows] == [0, 2, 4]
    assert list(rows[0]) == ["step", "epoch", "seconds", *MEASURED, "loss", "lr"]
    assert [rows[0][name] for name in MEASURED] == ["123.4", "0.25", "1.5"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("killed", "checkpoint"), [(25, 14), (25, 20), (20, 20), (29, 9), (5, 1), (9, 0)])
def test_a_resumed_run_leaves_no_gaps_and_no_doubles(
    killed: int, checkpoint: int, accumulate: int, tmp_path: Path
) -> None:
    path = tmp_path / "m.csv"
    train(path, range(1, killed + 1), accumulate=accumulate, loss=5.0)
    train(path, range(checkpoint + 1, 41), accumulate=accumulate, loss=7.0)
    assert steps_of(path) == [1, 10, 20, 30, 40]
    # What was computed again is what is kept.
    losses = [float(row["loss"]) for row in rows_of(path)]
    assert losses == [5.0 if step <= checkpoint else 7.0 for step in (1, 10, 20, 30, 40)]


def test_time_goes_on_from_the_last_row_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    train(path, range(1, 31))
    before = [float(row["seconds"]) for row in rows_of(path)]
    train(path, range(15, 41))
    after = [float(row["seconds"]) for row in rows_of(path)]
    assert after[:2] == before[:2]
    assert after == sorted(after)
    assert after[2] == after[1] + 1  # one look at the clock


def test_a_row_cut_within_its_last_number_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    train(path, range(1, 26))
    path.write_text(path.read_text().rstrip()[:-1])  # all columns are there
    train(path, range(21, 51))
    assert steps_of(path) == [1, 10, 30, 40, 50]


def test_several_interruptions(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    for first, last in ((1, 12), (8, 23), (20, 24), (24, 50)):
        train(path, range(first, last + 1))
    assert steps_of(path) == [1, 10, 20, 30, 40, 50]


def test_half_a_row_is_dropped(tmp_path: Path) -> None:
    """A run killed in the middle of writing step 300 may leave '30'."""
    path = tmp_path / "m.csv"
    train(path, range(1, 26))
    with path.open("a") as file:
        file.write("30")
    train(path, range(31, 51))
    assert steps_of(path) == [1, 10, 20, 40, 50]


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.touch()
    train(path, range(1, 11))
    assert steps_of(path) == [1, 10]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    train(tmp_path / "m.csv", range(1, 30), rank=1)
    assert not (tmp_path / "m.csv").exists()


def test_other_scalars_may_be_what_they_are(tmp_path: Path) -> None:
    train(tmp_path / "m.csv", range(1, 3), every=1, temperature=float("inf"))
    assert steps_of(tmp_path / "m.csv") == [1, 2]
