"""Tables and lists of images as rows of text, with any separator of columns."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError

TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
LINES = (".jsonl", ".ndjson")
SEPARATORS = (",", ";", "\t", "|")
SAMPLE = 50  # rows from which a table's format is inferred
_MOST = 64  # columns of a list without separators of its own


@dataclass
class Table:
    """Rows of cells.

    Attributes:
        names: of the columns, if the format has them; None if the first row may be a header.
        rows: of cells, perhaps of different lengths.
    """

    names: list[str] | None
    rows: list[list[Any]]


def read_table(path: Path, is_there: Callable[[str], bool]) -> Table:
    """A table (``.csv``, ``.tsv``), JSON a line (``.jsonl``), or a list of paths, which labels may follow.

    Args:
        is_there: whether a text is the path of an image, to find what separates columns.

    Raises:
        UsageError: it cannot be read as such.
    """
    text, ending = _text(path), path.suffix.lower()
    if ending in LINES:
        return _of_json(path, text)
    if ending in TABLES:
        return Table(None, _best(path, text, TABLES[ending], is_there))
    lines = [line for line in _lines(text) if line.strip()]
    return Table(None, _of_list(lines, is_there))


def sample(rows: Sequence[Any]) -> list[Any]:
    """Rows from all over a table."""
    step = max(1, len(rows) // SAMPLE)
    return list(rows[::step][:SAMPLE])


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read as a table: {error.strerror}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:1000]:
        raise UsageError(f"{str(path)!r} is not in UTF-8, but in UTF-16 or not text; save it as UTF-8")
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _lines(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.split("\n")]


def _best(path: Path, text: str, usual: str, is_there: Callable[[str], bool]) -> list[list[str]]:
    """The rows, split by the separator of the file's ending, or else by the one that gives paths of
    images."""
    kept, problem = None, ""
    for separator in (usual, *(each for each in SEPARATORS if each != usual)):
        try:
            rows = _parted(text, separator)
        except csv.Error as error:
            problem = problem or str(error)
            continue
        if any(is_there(cell) for row in sample(rows[1:] or rows) for cell in row):
            return rows
        kept = rows if kept is None or _wider(rows, kept) else kept
    if kept is None or problem:
        raise UsageError(f"{str(path)!r} cannot be read as a table: {problem}")
    return kept


def _wider(rows: list[list[str]], others: list[list[str]]) -> bool:
    """Whether rows have several columns, of the same number, where others have one."""
    widths = {len(row) for row in rows}
    return len(widths) == 1 and max(widths) > 1 and {len(row) for row in others} == {1}


def _parted(text: str, separator: str) -> list[list[str]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(_kept_ends(text), delimiter=separator, strict=True)
    return [row for row in reader if any(cell.strip() for cell in row)]


def _kept_ends(text: str) -> list[str]:
    return [line + "\n" for line in text.split("\n")]


def _of_list(lines: list[str], is_there: Callable[[str], bool]) -> list[list[str]]:
    """Lines as paths, or as a path and the text after it, if these paths exist and the lines do not."""
    tried = sample(lines)

    def found(part: Callable[[str], list[str]]) -> int:
        return sum(is_there(part(line)[0]) for line in tried)

    ways: list[Callable[[str], list[str]]] = [lambda line: [line]]
    fields = min((len(line.split()) for line in tried), default=1)
    ways += [_split_off(count) for count in range(1, min(fields, _MOST))]
    ways += [_split_at(separator) for separator in SEPARATORS]
    best = max(ways, key=found)
    return [best(line) for line in lines]


def _split_off(count: int) -> Callable[[str], list[str]]:
    return lambda line: line.rsplit(None, count)


def _split_at(separator: str) -> Callable[[str], list[str]]:
    return lambda line: [cell.strip() for cell in line.split(separator)]


def _of_json(path: Path, text: str) -> Table:
    rows = []
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"line {number} of {str(path)!r} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UsageError(
                f'line {number} of {str(path)!r} holds no JSON object, such as {{"file_name": …}}'
            )
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(names, [[row.get(name) for name in names] for row in rows])
