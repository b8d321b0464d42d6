"""CSV tables of a run: appended while it runs, read back as data that may be damaged or untrusted."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup.files import appended, read_text, write_text
from selfsup.text import as_text


def read_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a table, none if it is missing. After a crash the last row may be cut off.

    Raises:
        ValueError: it is not a CSV table in UTF-8; in one line.
        OSError: it is a link or not a file, cannot be read, or is too large.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        return []
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return [row for row in rows if None not in row and None not in row.values()]
    except csv.Error as error:
        raise ValueError(str(error).splitlines()[0]) from error


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table whole, in place of another; names in it become text."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_text(path, table.getvalue())


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a table, with the header if it is new."""
    with appended(path) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if not file.tell():
            writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """The rows of a run's table up to the step where a resumed run continues; none if it is damaged.

    Rows without a step are left out.
    """
    try:
        rows = read_rows(path)
    except ValueError:
        return []
    return [row for row in rows if (number := step_of(row)) is not None and number <= step]


def step_of(row: Mapping[str, str]) -> int | None:
    """The step in a row, None without a valid one."""
    text = row.get("step", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _cell(value: Any) -> Any:
    return as_text(value) if isinstance(value, str) else value
