"""The script for a GPU: its plan, what becomes of failures, its second call, and its tries without a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import right
from benchmarks.gpu.__main__ import PARTS, Part, measure
from benchmarks.gpu.machine import Machine
from benchmarks.rows import read
from benchmarks.tables.gpu import measured
from selfsup.config import options
from tests.methods.test_waits import WAITS


def small(folder: Path, device: str = "cpu") -> Machine:
    return Machine(torch.device(device), folder, folder / "runs", small=True)


def test_the_plan_is_of_twelve_minutes_and_every_method() -> None:
    assert sum(part.seconds for part in PARTS.values()) <= 12 * 60
    assert set(PARTS["right"].items) == set(options("method"))


def test_a_failure_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(item: str, machine: Machine) -> Any:
        raise torch.OutOfMemoryError(f"no room for {item}\nand much more")

    def endless(item: str, machine: Machine) -> Any:
        while True:
            pass

    calls: list[str] = []

    def whole(item: str, machine: Machine) -> Any:
        calls.append(item)
        return {"value": 1}

    parts = {"broken": Part(1, ["a", "b"], broken)}
    short = {"endless": Part(1, ["c", "e"], endless), "whole": Part(100, ["d"], whole)}
    measure(short, small(tmp_path), tmp_path, tell=lambda line: None)
    rows = {row["item"]: row for row in read("gpu", tmp_path)}
    assert rows["c"]["error"] == "TimeoutError: the time of this part is over"
    assert rows["e"]["error"] == "no time was left"
    assert rows["d"]["value"] == 1

    measure({**parts, **short}, small(tmp_path), tmp_path, tell=lambda line: None)
    rows = {row["item"]: row for row in read("gpu", tmp_path)}
    assert [rows[item]["error"] for item in "ab"] == [
        f"OutOfMemoryError: no room for {item}" for item in "ab"
    ]
    assert calls == ["d"]  # what has a value is not measured again


def test_nothing_begins_after_the_minutes(tmp_path: Path) -> None:
    begun: list[str] = []
    parts = {"late": Part(100, ["a"], lambda item, machine: begun.append(item) or {})}
    measure(parts, small(tmp_path), tmp_path, 0.0, tell=lambda line: None)
    assert begun == []
    assert [row["error"] for row in read("gpu", tmp_path)] == ["no time was left"]


@pytest.mark.parametrize("name", ["barlow", "mmcr"])
def test_a_step_on_the_pretended_gpu_waits_as_the_page_says(name: str, tmp_path: Path) -> None:
    found = right.compared(name, small(tmp_path, "meta"))["waits"]
    assert sum(found.values()) == WAITS.get(name, (0, ""))[0], found


def test_a_device_that_computes_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert right.compared("vicreg", small(tmp_path))["wrong"] == []

    def off(method: Any) -> Any:
        other = copied(method)
        with torch.no_grad():
            next(other.encoder.parameters()).mul_(1.01)
        return other

    copied = right.copied
    monkeypatch.setattr(right, "copied", off)
    assert "gradient" in right.compared("vicreg", small(tmp_path))["wrong"]


def test_the_table_has_rows_errors_and_nothing_before_either(tmp_path: Path) -> None:
    assert measured(tmp_path) == "Not measured yet."
    parts = {
        "right": Part(60, ["vicreg"], right.compared),
        "speed": Part(60, ["x"], lambda item, machine: {}["out of memory"]),
    }
    measure(parts, small(tmp_path), tmp_path, tell=lambda line: None)
    made = measured(tmp_path)
    assert "| gradient in float32, relative | 0.0e+00 | VICReg |" in made
    assert "* speed, x: KeyError: 'out of memory'" in made
