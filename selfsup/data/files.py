"""Images that a list or a table names, wherever they are."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from selfsup.data.names import Below, FileNames
from selfsup.data.paths import did_you_mean
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.data.split import hashes, held_out_count, hold_out
from selfsup.errors import UsageError

TABLES = {".csv": ",", ".tsv": "\t"}
PATH_NAMES = ("path", "file", "filename", "image", "image_path", "filepath")
LABEL_NAMES = ("label", "class", "category", "target")


def files(
    files: str,
    root: str | None,
    labels: str | bool,
    path_column: str | None,
    label_column: str | None,
    *,
    test_fraction: float,
) -> tuple[Source, Source]:
    """The images that a file names, one a line; ``test_fraction`` is held out, stratified by class.

    A ``.csv`` or ``.tsv`` file is a table (quotes may hold commas and line breaks). Its first row is a header
    if ``path_column`` is in it, or, where that is None, one of path, file, filename, image, image_path and
    filepath, in any case; labels are then in ``label_column``, or the first of label, class, category and
    target. Without a header the first column holds the paths and the second, if there is one, the labels.
    Any other file is a list of paths, without labels.

    Args:
        files: the list or table.
        root: the folder that relative paths start from; None means that of the list.
        labels: "auto" takes labels if there are some, True insists on them, False ignores them.
        path_column, label_column: names in the header, or None.

    Returns:
        (train, test) sources. A file that is not there is found when read, as any other that cannot be.

    Raises:
        UsageError: if there is no such file or column, fewer than two images, one image twice, or a row
            without a path or, where labels are taken, a label.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    table = Path(str(files)).expanduser()
    if not table.is_file():
        raise UsageError(f"data.files: there is no file '{files}'{did_you_mean(table)}")
    paths, classes = _read(table, labels, path_column, label_column)
    if len(set(paths)) < len(paths):
        again = next(path for path, times in Counter(paths).items() if times > 1)
        raise UsageError(f"{files!r} names {again!r} more than once; name each image once")
    if len(paths) < 2:
        raise UsageError(f"{files!r} names {len(paths)} images; at least two are needed")
    top = table.parent if root is None else Path(str(root)).expanduser()
    if not top.is_dir():
        raise UsageError(f"data.root: there is no folder '{root}'{did_you_mean(top)}")
    source = _source(top, paths, classes)
    train, test = hold_out(hashes(paths), source.labels, held_out_count(len(paths), test_fraction))
    if not len(test):
        raise UsageError(
            f"each class in {files!r} has a single image, so that none can be held out for testing; "
            "add images, or pass data.labels=false to learn without labels"
        )
    return subset(source, train), subset(source, test)


def _source(top: Path, paths: list[str], labels: list[str] | None) -> ImageFiles:
    numbers, classes = None, None
    if labels is not None:
        # Numbers in the order of numbers: 2 before 10.
        whole = all(label.lstrip("-").isdecimal() for label in labels)
        classes = sorted(set(labels), key=int if whole else None)
        place = {name: i for i, name in enumerate(classes)}
        numbers = torch.from_numpy(np.array([place[label] for label in labels], np.int64))
    return ImageFiles(Below(str(top), FileNames.of(paths)), numbers, classes)


def _read(
    table: Path, labels: str | bool, path_column: str | None, label_column: str | None
) -> tuple[list[str], list[str] | None]:
    """Paths and labels, None if there are none or none are wanted."""
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            if table.suffix.lower() not in TABLES:
                paths = [line.rstrip("\r\n") for line in lines if line.strip()]
                rows, where, named = [[path] for path in paths], 0, None
            else:
                reader = csv.reader(lines, delimiter=TABLES[table.suffix.lower()], strict=True)
                rows = [row for row in reader if any(cell.strip() for cell in row)]
                where, named = _columns(table, rows, path_column, label_column)
    except (OSError, csv.Error) as error:
        raise UsageError(f"{str(table)!r} cannot be read as a table: {error}") from error
    if labels is True and named is None:
        raise UsageError(f"{str(table)!r} has no labels; add a column, or pass data.labels=false")
    column = None if labels is False else named
    for number, row in enumerate(rows, 1):
        if len(row) <= where or not row[where]:
            raise UsageError(f"row {number} of {str(table)!r} has no path")
        if column is not None and not "".join(row[column : column + 1]).strip():
            raise UsageError(
                f"row {number} of {str(table)!r} ({row[where]!r}) has no label; label every row, or pass "
                "data.labels=false to learn without labels"
            )
    return [row[where] for row in rows], None if column is None else [row[column].strip() for row in rows]


def _columns(
    table: Path, rows: list[list[str]], path_column: str | None, label_column: str | None
) -> tuple[int, int | None]:
    """Which columns hold paths and labels; takes the header, if there is one, off the rows."""
    first = [cell.strip() for cell in rows[0]] if rows else []
    lower = [cell.lower() for cell in first]
    for name in (path_column, label_column):
        if name is not None and name not in first:
            raise UsageError(f"{str(table)!r} has no column {name!r}; its first row is {', '.join(first)}")
    if path_column is not None:
        where = first.index(path_column)
    elif header := [name for name in PATH_NAMES if name in lower]:
        where = lower.index(header[0])
    elif label_column is not None:
        raise UsageError(f"name the column of paths in {str(table)!r}, too: data.path_column=NAME")
    else:
        return 0, 1 if len(first) > 1 else None
    del rows[0]
    if label_column is not None:
        return where, first.index(label_column)
    return where, next((lower.index(name) for name in LABEL_NAMES if name in lower), None)
