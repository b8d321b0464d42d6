"""Images that a list or a table names, wherever they are."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from selfsup.data.decisions import Decisions
from selfsup.data.holdout import hashes, held_out_count, hold_out
from selfsup.data.readers.labels import class_order
from selfsup.data.readers.manifest import Manifest, read_manifest
from selfsup.data.readers.names import Below, FileNames
from selfsup.data.readers.paths import did_you_mean
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.errors import UsageError


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

    Columns are judged by what they hold (`readers.manifest`). Paths are in the column whose values are
    files, as they are, with an image's ending, or in one folder below ``root``. The first row is a header if
    it names no file. Labels are in ``label_column``, or in label, class, category or target, or in
    columns of 0 and 1, or in the only other column whose values repeat; without a header in the second. Rows
    that a column says to be for testing are not learned from.

    ``.csv`` and ``.tsv`` are tables (quotes may hold commas and line breaks; semicolons or tabs may part the
    columns), ``.jsonl`` has a JSON object a line; any other file is a list of paths, which labels may follow.

    Args:
        files: the list or table.
        root: the folder that relative paths start from; None means that of the list.
        labels: "auto" takes labels if there are some, True insists on them, False ignores them.
        path_column, label_column: names in the header, or None.

    Returns:
        (train, test) sources. A missing file is noticed when read, as is any other unreadable one.

    Raises:
        UsageError: if there is no such file or column, fewer than two images, one image twice, or a row
            without a path or, where labels are taken, a label.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    table = Path(str(files)).expanduser()
    if not table.is_file():
        raise UsageError(f"data.files: there is no file '{files}'{did_you_mean(table)}")
    top = table.parent if root is None else Path(str(root)).expanduser()
    if not top.is_dir():
        raise UsageError(f"data.root: there is no folder '{root}'{did_you_mean(top)}")
    found = read_manifest(table, top, labels, path_column, label_column)
    paths = found.paths
    if len(set(paths)) < len(paths):
        again = next(path for path, times in Counter(paths).items() if times > 1)
        raise UsageError(f"{files!r} names {again!r} more than once; name each image once")
    if len(paths) < 2:
        raise UsageError(f"{files!r} names {len(paths)} images; at least two are needed")
    source = _source(found)
    learn, test = _given(found, str(files)) if found.splits else (None, None)
    if test is not None and learn is not None:
        return subset(source, learn), subset(source, test)
    rows = torch.arange(len(paths)) if learn is None else learn
    labels_ = None if source.labels is None else source.labels[rows]
    keys = hashes(paths[i] for i in rows.tolist())
    train, held = hold_out(keys, labels_, held_out_count(len(rows), test_fraction))
    if not len(held):
        raise UsageError(
            f"each class in {files!r} has a single image, so that none can be held out for testing; "
            "add images, or pass data.labels=false to learn without labels"
        )
    source.decisions.splits = "; ".join(
        [*found.said, f"{len(held)} of {len(rows)} images are held out for testing"]
    )
    return subset(source, rows[train]), subset(source, rows[held])


def _source(found: Manifest) -> ImageFiles:
    numbers, classes = None, None
    if found.labels is not None:
        classes = class_order(found.labels)
        place = {name: i for i, name in enumerate(classes)}
        numbers = torch.from_numpy(np.array([place[label] for label in found.labels], np.int64))
    source = ImageFiles(Below(str(found.top), FileNames.of(found.paths)), numbers, classes)
    source.decisions = Decisions("; ".join(found.said), found.why)
    return source


def _given(found: Manifest, files: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The rows to learn from, and those to test on: for testing, else for validation, else None."""
    assert found.splits is not None
    rows = {split: [i for i, each in enumerate(found.splits) if each == split] for split in found.splits}
    learn, test = rows.get("train", []), rows.get("test") or rows.get("validation")
    if len(learn) < 2:
        raise UsageError(f"{files!r} has {len(learn)} images to learn from; at least two are needed")
    if test is not None and found.labels is not None:
        known = {found.labels[i] for i in learn}
        if unknown := sorted({found.labels[i] for i in test} - known):
            raise UsageError(
                f"the test rows of {files!r} have a label {unknown[0]!r} that no training row has; remove "
                "them, or pass data.labels=false to learn without labels"
            )
    return torch.tensor(learn), None if test is None else torch.tensor(test)
