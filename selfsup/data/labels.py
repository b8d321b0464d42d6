"""``data.labels=FILE``: labels of some images, from a table of names that somebody filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.data.holdout import held_out_count, hold_out
from selfsup.data.readers.csv_tables import read_csv
from selfsup.data.readers.labels import class_order, label_text
from selfsup.data.settings import labels_file
from selfsup.data.source import Source, subset
from selfsup.errors import UsageError
from selfsup.text import as_text, shown

HELD_OUT = 0.2  # of the labelled images, for testing where the file names no test image


def labelled(config: Mapping[str, Any], train: Source, test: Source) -> tuple[Source, Source]:
    """What judges an encoder: the images that ``data.labels=FILE`` names, with its labels.

    Without such a file, the sources as they are. If the file names no test image, a fifth of the labelled
    images, stratified by class and chosen by a hash of their names, is to test on.

    Args:
        config: of the data.
        train, test: without labels.

    Raises:
        UsageError: the file cannot be read, names an image that is not there or one twice, or has fewer than
            two classes among the images to learn from.
    """
    file = labels_file(config)
    if file is None:
        return train, test
    given = read_labels(Path(file).expanduser(), "data.labels")
    if not given:
        raise UsageError(f"'{shown(file)}' (data.labels) has no label yet; fill in its column 'label'")
    classes = class_order(given.values())
    if len(classes) < 2:
        raise UsageError(
            f"the labels in '{shown(file)}' are all {classes[0]!r}; label images of a second class"
        )
    number = {name: i for i, name in enumerate(classes)}
    rows = positions([train, test], list(given), f"'{shown(file)}' (data.labels)")
    labels = torch.tensor([number[label] for label in given.values()])
    order = rows.argsort()
    rows, labels = rows[order], labels[order]
    first = rows < len(train)
    parts = [_with(train, rows[first], labels[first], classes)]
    if first.all():
        keys = [as_text(train.name(i)) for i in rows.tolist()]
        kept, held = hold_out(keys, labels, held_out_count(len(rows), HELD_OUT))
        if not len(held):
            raise UsageError(f"each class in '{shown(file)}' has a single image; label a second of one")
        parts = [_with(train, rows[each], labels[each], classes) for each in (kept, held)]
        said = f"of them {len(held)}, chosen by a hash, are to test on, as no test image has one"
    else:
        parts.append(_with(test, rows[~first] - len(train), labels[~first], classes))
        said = f"of them {len(parts[1])} are of the test images"
    learned = parts[0].labels
    if learned is None or len(learned.unique()) < 2:
        raise UsageError(
            f"the training images that '{shown(file)}' names are not of two classes; label more of them"
        )
    counts = labels.bincount().tolist()
    for part in parts:
        part.decisions = replace(
            train.decisions,
            labels=f"{len(rows)} images have labels in '{shown(file)}', {len(classes)} classes; {said}",
            classes=dict(zip(classes, counts, strict=True)),
        )
    return parts[0], parts[1]


def _with(source: Source, rows: Tensor, labels: Tensor, classes: list[str]) -> Source:
    part = subset(source, rows)
    part.labels, part.classes = labels, classes
    return part


def read_labels(path: Path, setting: str) -> dict[str, str]:
    """Labels by name: a CSV table with the columns ``name`` and ``label``, in which labels may be missing.

    Raises:
        UsageError: it cannot be read, or names an image twice.
    """
    rows = read_csv(path, setting)
    if rows and not {"name", "label"} <= rows[0].keys():
        found = ", ".join(shown(each) for each in rows[0] if each)
        raise UsageError(f"{setting}: '{shown(path)}' needs the columns name and label, and has {found}")
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        name, label = str(row["name"]), label_text(row["label"])
        if name in seen:
            raise UsageError(f"{setting}: '{shown(path)}' names '{shown(name)}' twice; leave one")
        seen.add(name)
        if label is not None:
            labels[name] = label
    return labels


def positions(sources: Sequence[Source], names: Sequence[str], where: str) -> Tensor:
    """The position of each name among the images of several sources, one source after another.

    A name is an image's display name as text (:func:`selfsup.text.as_text`), or the end of it after a slash.

    Args:
        where: the file that has the names, for messages.

    Raises:
        UsageError: a name means no image, or several.

    >>> from selfsup.data import ImageArray
    >>> photos = ImageArray(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), names=["a/cat.png", "a/dog.png"])
    >>> positions([photos], ["dog.png", "a/cat.png"], "labels.csv")
    tensor([1, 0])
    """
    wanted = set(names)
    depths = {name.count("/") for name in wanted}
    found: dict[str, list[int]] = {name: [] for name in wanted}
    at = 0
    for source in sources:
        for i in range(len(source)):
            name = as_text(source.name(i))
            ends = {"/".join(name.split("/")[-1 - depth :]) for depth in depths} | {name}
            for end in ends & wanted:
                found[end].append(at + i)
        at += len(source)
    for name, rows in found.items():
        if len(rows) != 1:
            what = "no image of this data" if not rows else f"{len(rows)} images"
            raise UsageError(f"'{shown(name)}' in {where} means {what}; give each image by its own name")
    return torch.tensor([found[name][0] for name in names], dtype=torch.int64)
