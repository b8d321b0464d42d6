"""Unreadable images are named once, and stop the run past a share of the data."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfsup.callbacks.skipped import SkippedImages
from selfsup.errors import UsageError


def meet(callback: SkippedImages, *names: str) -> None:
    batch = {"skipped": [(name, f"{name} is empty") for name in names]}
    nothing: Any = SimpleNamespace(global_rank=0)
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
