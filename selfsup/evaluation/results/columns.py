"""Tables as wide as the console, in several parts if necessary, with distinct names of rows."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from selfsup.terminal import make_console
from selfsup.text import shown

WIDEST = 10_000  # characters of a table in a file
SHORTEST = 16  # characters of a name


def print_columns(
    title: str, names: Sequence[str], columns: Mapping[str, Sequence[Text]], console: Console
) -> None:
    """Print a bold title, then a row for each name and a column for each heading.

    On a terminal, columns that do not fit come below the others, with the names repeated, and long names are
    shortened in the middle. In a file nothing is cut.

    Args:
        names: of the rows.
        columns: cells ``len(names)`` of each heading.
    """
    console.print(Text(shown(title), style="bold"))
    room = console.width if console.is_terminal else WIDEST
    names = [shown(name) for name in names]
    if console.is_terminal:
        names = shortened(names, max(SHORTEST, room // 3))
    wide = console if console.is_terminal else make_console(file=console.file, width=WIDEST, no_color=True)
    part: dict[str, Sequence[Text]] = {}
    for heading, cells in columns.items():
        if part and _width(names, {**part, heading: cells}) > room:
            wide.print(_table(names, part))
            part = {}
        part[heading] = cells
    wide.print(_table(names, part))


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Names of ``most`` characters, or longer ones where that is needed to keep them distinct.

    >>> shortened(["barlow-digits-seed0-long", "barlow-digits-seed1-long"], 11)
    ['barlo…0-long', 'barlo…1-long']
    """
    for size in range(most, max(map(len, names), default=0)):
        cut = [shown(name, size) for name in names]
        if len(set(cut)) == len(set(names)):
            return cut
    return list(names)


def _table(names: Sequence[str], columns: Mapping[str, Sequence[Text]]) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("", no_wrap=True)
    for heading in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name, *cells in zip(names, *columns.values(), strict=True):
        table.add_row(Text(name), *cells)
    return table


def _width(names: Sequence[str], columns: Mapping[str, Sequence[Text]]) -> int:
    wide = make_console(width=WIDEST)
    return Measurement.get(wide, wide.options, _table(names, columns)).maximum
