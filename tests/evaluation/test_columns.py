"""Tables of any width: nothing is cut, and no two rows look alike."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from selfsup.evaluation.results.columns import print_columns, shortened

NAMES = [f"barlow-imagenet100-vit_small-20261129-18491{i}-a-rather-long-run-of-seed-{i}" for i in range(3)]
CELLS = {f"score {i}": [Text(f"{i}{j}.0 [11.1, 22.2]") for j in range(3)] for i in range(7)}


def printed(width: int, terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    print_columns("title", NAMES, CELLS, console)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 132, 1000])
def test_on_a_terminal_what_does_not_fit_beside_comes_below(width: int) -> None:
    lines = printed(width, terminal=True)
    assert max(map(len, lines)) <= width
    whole = "\n".join(lines)
    assert all(cell.plain in whole for cells in CELLS.values() for cell in cells)
    assert all(heading in whole for heading in CELLS)
    names = {line.split()[0] for line in lines if "[" in line}
    assert len(names) == 3
    assert {name[-1] for name in names} == set("012")


def test_in_a_file_lines_are_as_long_as_they_have_to_be() -> None:
    lines = printed(80, terminal=False)
    assert len([line for line in lines if "[" in line]) == 3
    assert all(any(name in line for line in lines) for name in NAMES)


def test_names_are_shortened_no_further_than_they_differ() -> None:
    assert shortened(["x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30], 10) == [
        "x" * 30 + "1" + "y" * 30,
        "x" * 30 + "2" + "y" * 30,
    ]
    assert shortened(["same" * 20] * 2, 9) == ["same…same"] * 2
    assert shortened([], 9) == []
