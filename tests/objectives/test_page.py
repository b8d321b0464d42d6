"""The page of objectives leaves none out, and the list of mutations fits the code."""

from pathlib import Path

import pytest

from benchmarks.robustness.mutations import FOLDER, MUTATIONS

from .declarations import OBJECTIVES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if "," not in name])
def test_every_objective_has_its_row(name: str) -> None:
    """With P among its tests if it has a peer, and G if it has golden numbers."""
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    tests = set(row.split("|")[-2].split())
    declared = OBJECTIVES[name]
    assert tests == set("LWHSTC") | ({"P"} if declared.peer else set()) | (
        {"G"} if declared.golden else set()
    )


def test_the_mutations_fit_the_code() -> None:
    for file, changes in MUTATIONS.items():
        text = (ROOT / FOLDER / f"{file}.py").read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{file}: '{old}' occurs {text.count(old)} times"
            assert old != new
