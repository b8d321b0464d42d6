"""The labels of parquet files: numbers or text, with or without names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.data.readers.labels import class_order, label_text
from selfsup.data.readers.nodes import listed
from selfsup.data.readers.parquet_files import one_line, open_parquet
from selfsup.errors import UsageError
from selfsup.text import shown

REMEDY = "pass data.labels=false to learn without labels"


def label_column(
    files: list[Path], images: str, wanted: str | None, labels: str | bool
) -> tuple[str | None, str]:
    """The column of labels, None if there is none, and a sentence about it.

    Args:
        images: the column of images.
        wanted: its name. None: the one called label; else the only one of class labels; else the only one of
            whole numbers, truth or text with repeating values, as labels have.
        labels: "auto", True or False, as for `parquet`.

    Raises:
        UsageError: labels is True, and there is no such column, or several that may be it.
    """
    if labels is False:
        return None, "no labels: data.labels=false"
    names = list(dict.fromkeys(name for file in files for name in _schema(file).names))
    if wanted is not None:
        if wanted not in names and labels is not True:
            return None, f"no labels: there is no column '{shown(wanted)}' among {listed(names)}"
        return wanted, f"labels are those in column '{shown(wanted)}'"
    found = _likely(files, [name for name in names if name != images])
    if len(found) == 1:
        return found[0], f"labels are those in column '{shown(found[0])}'"
    why = "no column has repeating values, as labels have"
    if found:
        why = f"the columns {listed(found)} may all be labels; choose with data.source.label_column=NAME"
    if labels is True:
        raise UsageError(
            f"data.labels=true, but in '{shown(files[0])}' there is no label column 'label' (it has "
            f"{listed(names)}), and {why}; pass data.source.label_column=NAME, or {REMEDY}"
        )
    return None, f"no labels: {why}"


def _likely(files: list[Path], names: list[str]) -> list[str]:
    if "label" in names:
        return ["label"]
    metadata = (_schema(files[0]).metadata or {}).get(b"huggingface")
    classes = [name for name in names if _class_names(metadata, name) is not None]
    return classes if len(classes) == 1 else [name for name in classes or names if _repeats(files[0], name)]


def _repeats(file: Path, name: str) -> bool:
    """Whether a column holds a few values that repeat: two or more, each in three rows on average."""
    import pyarrow as pa

    opened = open_parquet(file)
    if name not in opened.schema_arrow.names or not _is_label(opened.schema_arrow.field(name).type):
        return False
    try:
        values = [label_text(value) for value in opened.read(columns=[name]).column(0).to_pylist()]
    except (pa.ArrowException, OSError):
        return False
    return None not in values and 2 <= len(set(values)) <= len(values) / 3


def _is_label(kind: Any) -> bool:
    """Whether values of a type may be labels: text, numbers, truth."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind))


def read_labels(splits: list[list[Path]], column: str) -> tuple[list[Tensor | None], list[str] | None]:
    """Number the labels of all splits alike.

    Classes are the labels of the first split, in ascending order, so that none is empty. Their names are
    those of a Hugging Face `ClassLabel` in the schema's metadata, else the labels themselves.

    Args:
        splits: the files of the training split, and of others.

    Returns:
        (labels, classes): int64 labels 0..C-1 for each split, and the C names.

    Raises:
        UsageError: if labels are missing, of another type, without a name, or absent from training.
    """
    values = [[value for file in files for value in _values(file, column)] for files in splits]
    return number_labels(values, _names([file for files in splits for file in files], column), column)


def number_labels(
    values: Sequence[Sequence[str]], names: list[str] | None, column: str
) -> tuple[list[Tensor | None], list[str] | None]:
    """`read_labels` for labels that have been read; `names` are those of the numbers from 0 on, if any."""
    known = class_order(values[0])
    for others in values[1:]:
        unknown = class_order(set(others) - set(known))
        if unknown:
            raise UsageError(
                f"the test split has a label {unknown[0]} that no training image has; "
                f"leave its rows out, or {REMEDY}"
            )
    classes = known
    if names is not None and all(label.isdecimal() for label in known):
        if int(known[-1]) >= len(names):
            raise UsageError(
                f"label {known[-1]} has no name: the metadata names {len(names)} classes; {REMEDY}"
            )
        classes = [names[int(label)] for label in known]
    number = {value: i for i, value in enumerate(known)}
    return [torch.tensor([number[value] for value in split]) for split in values], classes


def _schema(file: Path) -> Any:
    return open_parquet(file).schema_arrow


def _values(file: Path, column: str) -> list[str]:
    """The labels of one file."""
    import pyarrow as pa

    opened = open_parquet(file)
    if column not in opened.schema_arrow.names:
        raise UsageError(
            f"{str(file)!r} has no label column {column!r} (it has {', '.join(opened.schema_arrow.names)}); "
            f"pass data.source.label_column=NAME, or {REMEDY}"
        )
    try:
        labels = opened.read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"column {column!r} of {str(file)!r} is damaged: {one_line(error)}") from error
    values = labels.to_pylist()
    broken = (isinstance(value, float) and value == value and label_text(value) is None for value in values)
    if not _is_label(labels.type) or any(broken):
        raise UsageError(
            f"column {column!r} of {str(file)!r} holds {labels.type}, not one label an image; {REMEDY}"
        )
    return complete_labels(values, str(file))


def complete_labels(values: list[Any], where: str) -> list[str]:
    """The labels as text (`selfsup.data.readers.labels.label_text`), if there is one for every row."""
    labels = []
    for row, value in enumerate(values):
        label = label_text(value)
        # A number below 0 is how the Hugging Face layout marks a row without a label.
        if label is None or (not isinstance(value, str) and value < 0):
            raise UsageError(f"row {row} of {where!r} has no label; label every row, or {REMEDY}")
        labels.append(label)
    return labels


def _names(files: list[Path], column: str) -> list[str] | None:
    found: dict[tuple[str, ...], Path] = {}
    for file in files:
        names = _class_names((_schema(file).metadata or {}).get(b"huggingface"), column)
        if names is not None:
            found.setdefault(tuple(names), file)
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise UsageError(f"{str(one)!r} and {str(other)!r} name their classes differently; {REMEDY}")
    return list(next(iter(found))) if found else None


def _class_names(metadata: bytes | None, column: str) -> list[str] | None:
    """The names that `datasets` writes for a ClassLabel; None if the metadata has another form."""
    try:
        names = json.loads(metadata or b"")["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names]
