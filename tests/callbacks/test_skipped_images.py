"""Unreadable images are named once, and stop the run past a share of the data."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from selfsup.callbacks.skipped import EVERY, SkippedImages
from selfsup.errors import UsageError


def meet(callback: SkippedImages, *names: str) -> None:
    batch = {"skipped": [(name, f"{name} is empty") for name in names]}
    nothing: Any = SimpleNamespace(is_global_zero=True, world_size=1)
    callback.on_train_batch_start(nothing, nothing, batch, 0)


def listed(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_images_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "skipped.csv"
    callback = SkippedImages(path, samples=100, allowed=0.03)
    meet(callback)
    assert not path.exists()
    for _ in range(3):  # epochs
        meet(callback, "a, b", "c")
    meet(callback, "d")
    assert listed(path) == [
        ["image", "reason"],
        ["a, b", "a, b is empty"],
        ["c", "c is empty"],
        ["d", "d is empty"],
    ]


@pytest.mark.parametrize(
    ("samples", "share", "allowed"), [(100, 0.03, 3), (100, 0.0, 1), (10, 0.01, 1), (500, 0.01, 5)]
)
def test_more_than_the_share_stops_the_run(samples: int, share: float, allowed: int, tmp_path: Path) -> None:
    path = tmp_path / "skipped.csv"
    callback = SkippedImages(path, samples, share)
    for i in range(allowed):
        meet(callback, f"photo {i}")
    with pytest.raises(
        UsageError, match=r"more than data.max_unreadable allows; .*newest is last \(last is empty\)"
    ):
        meet(callback, "photo 0", "last")
    assert len(listed(path)) == allowed + 2


def test_what_was_unreadable_before_the_run_is_listed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "skipped.csv"
    callback = SkippedImages(path, samples=98, allowed=0.03, known=[("early", "cut"), ("late", "cut")])
    nothing: Any = SimpleNamespace(is_global_zero=True, world_size=1)
    callback.on_train_start(nothing, nothing)
    assert [row[0] for row in listed(path)] == ["image", "early", "late"]
    meet(callback, "third")
    with pytest.raises(UsageError, match="4 images could not be read"):
        meet(callback, "fourth")


def test_a_resumed_run_remembers(tmp_path: Path) -> None:
    first = SkippedImages(tmp_path / "skipped.csv", samples=100, allowed=0.02)
    meet(first, "a", "b")
    second = SkippedImages(tmp_path / "skipped.csv", samples=100, allowed=0.02)
    second.load_state_dict(first.state_dict())
    with pytest.raises(UsageError, match="3 images"):
        meet(second, "b", "c")


def test_processes_count_together(tmp_path: Path) -> None:
    """Neither has met more than it may; together they have, and both stop at the same batch."""
    mp.start_processes(_meet_apart, (str(tmp_path / "store"), tmp_path), nprocs=2, start_method="fork")
    assert sorted(row[0] for row in listed(tmp_path / "skipped.csv")[1:]) == ["0 a", "0 b", "1 a", "1 b"]
    assert [(tmp_path / f"{rank}").read_text() for rank in (0, 1)] == [f"{EVERY - 1}"] * 2


def _meet_apart(rank: int, store: str, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    callback = SkippedImages(folder / "skipped.csv", samples=100, allowed=0.03)
    trainer: Any = SimpleNamespace(is_global_zero=rank == 0, world_size=2)
    for number in range(3 * EVERY):
        skipped = [(f"{rank} {name}", "cut") for name in "ab"] if number == 7 + rank else []
        try:
            callback.on_train_batch_start(trainer, trainer, {"skipped": skipped}, number)
        except UsageError:
            (folder / f"{rank}").write_text(f"{number}")
            break
    dist.destroy_process_group()
