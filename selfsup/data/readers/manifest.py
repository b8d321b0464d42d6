"""The columns of a table of images: paths, labels, splits; judged by their values."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup.data.readers.kinds import image_endings, is_image_name
from selfsup.data.readers.labels import label_text, one_hot
from selfsup.data.readers.nodes import listed
from selfsup.data.readers.roles import role, words
from selfsup.data.readers.table import Table, read_table, sample
from selfsup.errors import UsageError
from selfsup.text import shown

PATH_NAMES = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
LABEL_NAMES = ("label", "class", "category", "target")
_SPLIT_NAMES = {"split", "subset", "partition", "usage"}
_REPEATS = 3  # rows per label, on average and at least, for a column that is recognised by its values alone
_Labels = tuple[list[str | None] | None, str]  # of the rows, and a sentence about them


@dataclass
class Manifest:
    """The images that a table names.

    Attributes:
        top: the folder that paths start from.
        paths, labels: of the rows; labels are None where there are none.
        splits: "train", "test" or "validation" of the rows; None if the table has none.
        said: how splits and paths were recognised, a sentence each.
        why: about the labels, a sentence.
    """

    top: Path
    paths: list[str]
    labels: list[str] | None
    splits: list[str] | None
    said: list[str] = field(default_factory=list)
    why: str = ""


def read_manifest(
    path: Path, top: Path, labels: str | bool, path_column: str | None, label_column: str | None
) -> Manifest:
    """Read a table or a list (`selfsup.data.files`)."""
    table = read_table(path, lambda text: _exists(top, text))
    columns = _Columns(path, top, table, path_column, label_column)
    where = columns.paths()
    rows = columns.rows
    for number, row in enumerate(rows, 1):
        if len(row) <= where or not isinstance(row[where], str) or not row[where].strip():
            raise UsageError(f"row {number} of {str(path)!r} has no path")
    splits = columns.splits(where)
    said = columns.said
    found, why = columns.labels(where) if labels is not False else (None, "no labels: data.labels=false")
    if labels is True and found is None:
        raise UsageError(f"{str(path)!r} has no labels ({why}); add a column, or pass data.labels=false")
    paths = [columns.full(row[where]) for row in rows]
    kept = _labelled(path, rows, where, found, splits)
    return Manifest(
        columns.top,
        [paths[i] for i in kept],
        None if found is None else [str(found[i]) for i in kept],
        None if splits is None else [splits[i] for i in kept],
        said,
        why,
    )


def _labelled(
    path: Path, rows: list[list[Any]], where: int, found: list[str | None] | None, splits: list[str] | None
) -> list[int]:
    """The rows to use: all, except a split for testing in which no row has a label."""
    if found is None:
        return list(range(len(rows)))
    of = splits or ["train"] * len(rows)
    with_labels = {split for split, label in zip(of, found, strict=True) if label is not None}
    kept = [i for i, split in enumerate(of) if split in with_labels]
    for i in kept:
        if found[i] is None:
            raise UsageError(
                f"row {i + 1} of {str(path)!r} ({rows[i][where]!r}) has no label; label every row, or pass "
                "data.labels=false to learn without labels"
            )
    return kept


class _Columns:
    """The columns of a table, found one after the other."""

    def __init__(
        self, path: Path, top: Path, table: Table, path_column: str | None, label_column: str | None
    ):
        self.path, self.top, self.said = path, top, list[str]()
        self.path_column, self.label_column = path_column, label_column
        self.rows = table.rows
        self.names = table.names
        self.endings: list[str] = [""]
        self.used: int | None = None  # the column of splits
        first = self.names or [str(cell).strip() for cell in (table.rows[0] if table.rows else [])]
        for name in (path_column, label_column):
            if name is not None and name not in first:
                raise UsageError(f"{str(path)!r} has no column {name!r}; its first row is {', '.join(first)}")
        self.first = first

    def paths(self) -> int:
        """The column of paths; removes the header, if there is one, from the rows."""
        where = self.first.index(self.path_column) if self.path_column is not None else None
        body = self.rows if self.names else self.rows[1:]
        found = self._with_images(sample(body or self.rows), where)
        if where is None:
            where = found if found is not None else self._by_name()
        if self.names is None and self._is_header(where, found is not None):
            self.names = self.first
            del self.rows[0]
        if self.label_column is not None and self.names is None:
            raise UsageError(f"name the column of paths in {str(self.path)!r}, too: data.path_column=NAME")
        return where

    def full(self, cell: str) -> str:
        """The path in a cell, with an ending if those of this table have none."""
        cell = _here(self.top, cell, self.endings)
        for ending in self.endings[:-1]:
            if os.path.isfile(self.top / (cell + ending)):
                return cell + ending
        return cell + self.endings[-1]

    def _with_images(self, rows: list[list[Any]], only: int | None) -> int | None:
        """The column whose values are most often files: as they are, with an ending, or in a sub-folder."""
        columns = [only] if only is not None else range(max((len(row) for row in rows), default=0))
        cells = {j: [row[j] for row in rows if len(row) > j and isinstance(row[j], str)] for j in columns}
        for folder in self._folders():
            for endings in ([""], self._endings(folder, cells)):
                there = {j: sum(_exists(folder, c, endings) for c in each) for j, each in cells.items()}
                best = max(there, key=lambda j: (there[j], -j), default=None)
                plain = folder == self.top and endings == [""]
                least = 1 if plain else max(2, len(rows) / 2)
                if best is None or there[best] < least:
                    continue
                self.endings = endings
                if folder != self.top:
                    self.said.append(f"paths start from '{shown(folder)}', where their files are")
                if endings != [""]:
                    self.said.append(f"the endings {', '.join(endings)} were added to the paths")
                self.top = folder
                return best
        return None

    def _folders(self) -> list[Path]:
        """Where paths may start: the folder, or one below it."""
        try:
            below = sorted(entry.name for entry in os.scandir(self.top) if entry.is_dir())
        except OSError:
            below = []
        return [self.top, *(self.top / name for name in below[: _REPEATS * 10])]

    def _endings(self, folder: Path, cells: dict[int, list[str]]) -> list[str]:
        """The endings with which the values of one column are files."""
        known = [ending for each in image_endings() for ending in (f".{each}", f".{each.upper()}")]
        tried = [cell for each in cells.values() for cell in each[:5] if cell and not is_image_name(cell)]
        return [end for end in known if any(_exists(folder, cell + end) for cell in tried)]

    def _by_name(self) -> int:
        """The column of paths if no file exists to recognise it by."""
        lower = [name.lower() for name in self.first]
        named = [lower.index(name) for name in PATH_NAMES if name in lower]
        if named:
            return named[0]
        if self.label_column is not None:
            raise UsageError(f"name the column of paths in {str(self.path)!r}, too: data.path_column=NAME")
        body = self.rows[1:2] or self.rows
        images = [j for j, cell in enumerate(body[0] if body else []) if is_image_name(str(cell))]
        return images[0] if images else 0

    def _is_header(self, where: int, found: bool) -> bool:
        """Whether the first row is a header: its path is not a file, and not named like an image."""
        if not self.first or where >= len(self.first):
            return False
        cell = self.first[where]
        if self.path_column is not None or cell.lower() in PATH_NAMES:
            return True
        if is_image_name(cell) or _exists(self.top, cell, self.endings):
            return False
        second = [str(row[where]) for row in self.rows[1:2] if len(row) > where]
        return found or any(map(is_image_name, second)) or self.label_column is not None

    def splits(self, where: int) -> list[str] | None:
        """The split of each row, by a column whose values or whose name say so."""
        self.used = None
        for j, name in enumerate(self._called()):
            if j == where or name == self.label_column or name.lower() in LABEL_NAMES:
                continue
            values = [value or "" for value in self._values(j)]
            roles = {value: role(value) for value in set(values)}
            if all(roles.values()) and "train" in roles.values():
                self.used = j
                self.said.append(f"'{shown(name)}' says which rows are for training and for testing")
                return [str(roles[value]) for value in values]
            if (meaning := role(name)) and words(name)[0] in ("is", "in") and set(roles) == {"0", "1"}:
                self.used = j
                self.said.append(f"'{shown(name)}' says which rows are for {meaning}")
                other = "test" if meaning == "train" else "train"
                return [meaning if value == "1" else other for value in values]
            if _SPLIT_NAMES & set(words(name)) and 1 < len(roles) <= 5:
                self.said.append(
                    f"'{shown(name)}' is not used, as its values {listed(sorted(roles))} name no splits; "
                    "write train, val and test to leave rows out of training"
                )
        return None

    def _called(self) -> list[str]:
        """The columns' names, or their numbers."""
        width = max((len(row) for row in self.rows), default=0)
        return self.names or [f"column {j + 1}" for j in range(width)]

    def labels(self, where: int) -> _Labels:
        """The labels of the rows, and a sentence about them."""
        names = self._called()
        rest = [j for j in range(len(names)) if j not in (where, self.used)]
        lower = [name.lower() for name in names]
        if self.label_column is not None:
            return self._of(names.index(self.label_column), names)
        known = [lower.index(name) for name in LABEL_NAMES if name in lower]
        if self.names is not None and known and known[0] in rest:
            return self._of(known[0], names)
        if len(rest) > 1 and (found := self._one_hot(rest, names)) is not None:
            return found
        if self.names is None:
            if not rest:
                return None, "no labels: there is no column beside the paths"
            return self._of(rest[0], names)
        return self._by_values(rest, names)

    def _by_values(self, rest: Sequence[int], names: Sequence[str]) -> _Labels:
        """The only column with repeating values, as labels have."""
        few = []
        for j in rest:
            values = self._values(j)
            present = [value for value in values if value is not None]
            repeats = 2 if len(rest) == 1 else _REPEATS
            if 2 <= len(set(present)) <= len(self.rows) / repeats and len(present) == len(values):
                few.append(j)
        if len(few) == 1:
            return self._of(few[0], names)
        if not few:
            return None, "no labels: no column has repeating values, as labels have"
        columns = listed([names[j] for j in few])
        return None, f"no labels: {columns} may all be labels; choose with data.label_column=NAME"

    def _of(self, column: int, names: Sequence[str]) -> _Labels:
        cells = [row[column] if column < len(row) else None for row in self.rows]
        if any(isinstance(cell, list | dict) for cell in cells) or _several(cells):
            return None, f"no labels: '{shown(names[column])}' has several to a row"
        return self._values(column), f"labels are those in '{shown(names[column])}'"

    def _values(self, column: int) -> list[str | None]:
        return [label_text(row[column]) if column < len(row) else None for row in self.rows]

    def _one_hot(self, rest: Sequence[int], names: Sequence[str]) -> _Labels | None:
        """Labels from columns of 0 and 1, one a class; None for other columns."""
        flags = [j for j in rest if set(self._values(j)) <= {"0", "1"} and self.rows]
        if len(flags) < 2 or len(flags) < len(rest) - 1:
            return None
        columns = [self._values(j) for j in flags]
        chosen = one_hot(columns)
        if chosen is None or None in chosen:
            return None, f"no labels: rows have none or several of {listed([names[j] for j in flags])}"
        labels: list[str | None] = [names[flags[i]] for i in chosen if i is not None]
        return (
            labels,
            f"labels are the columns {listed([names[j] for j in flags])}, one for each row",
        )


def _several(cells: Sequence[Any]) -> bool:
    """Whether cells are lists of labels, such as "cat|dog", made of parts that other cells also have."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    for separator in ("|", ";", ","):
        with_it = [text for text in texts if separator in text]
        if len(with_it) > 0.1 * len(texts):
            parts = {part.strip() for text in texts for part in text.split(separator)}
            if len(parts) < len(set(texts)):
                return True
    return False


def _exists(top: Path, cell: Any, endings: Sequence[str] = ("",)) -> bool:
    if not isinstance(cell, str) or not cell.strip() or "\0" in cell:
        return False
    cell = _here(top, cell, endings)
    return any(os.path.isfile(os.path.join(top, cell + ending)) for ending in endings)


def _here(top: Path, cell: str, endings: Sequence[str]) -> str:
    """A path as this system writes it: a table made on Windows has backslashes."""
    if "\\" not in cell or any(os.path.isfile(os.path.join(top, cell + ending)) for ending in endings):
        return cell
    return cell.replace("\\", "/")
