"""The labels of parquet files: integers or text, with or without names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.data.parquet_files import one_line, open_parquet
from selfsup.errors import UsageError

REMEDY = "pass data.labels=false to learn without labels"


def has_labels(files: list[Path], column: str) -> bool:
    """Whether any of the files has the label column."""
    return any(column in _schema(file).names for file in files)


def read_labels(splits: list[list[Path]], column: str) -> tuple[list[Tensor | None], list[str] | None]:
    """Number the labels of all splits alike.

    Classes are the labels met in the first split, in ascending order, so that none is empty. Their names are
    those of a Hugging Face `ClassLabel` in the schema's metadata, else the labels themselves.

    Args:
        splits: the files of the training split, and of others.

    Returns:
        (labels, classes): int64 labels 0..C-1 for each split, and the C names.

    Raises:
        UsageError: if labels are missing, of another type, without a name, or not met in training.
    """
    values = [[value for file in files for value in _values(file, column)] for files in splits]
    return number_labels(values, _names([file for files in splits for file in files], column), column)


def number_labels(
    values: Sequence[Sequence[Any]], names: list[str] | None, column: str
) -> tuple[list[Tensor | None], list[str] | None]:
    """`read_labels` of labels that have been read; `names` are those of the integers from 0 on, if any."""
    try:
        known = sorted(set(values[0]))
    except TypeError as error:
        raise UsageError(f"column {column!r} mixes labels of text and of integers; {REMEDY}") from error
    for others in values[1:]:
        unknown = sorted(set(others) - set(known), key=str)
        if unknown:
            raise UsageError(
                f"the test split has a label {unknown[0]!r} that no training image has; "
                f"leave its rows out, or {REMEDY}"
            )
    if names is None or isinstance(known[0], str):
        classes = [str(value) for value in known]
    elif known[-1] < len(names):
        classes = [names[value] for value in known]
    else:
        raise UsageError(f"label {known[-1]} has no name: the metadata names {len(names)} classes; {REMEDY}")
    number = {value: i for i, value in enumerate(known)}
    return [torch.tensor([number[value] for value in split]) for split in values], classes


def _schema(file: Path) -> Any:
    return open_parquet(file).schema_arrow


def _values(file: Path, column: str) -> list[Any]:
    """The labels of one file, all integers or all text."""
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
    kind = labels.type.value_type if pa.types.is_dictionary(labels.type) else labels.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UsageError(f"column {column!r} of {str(file)!r} holds {kind}, not one label an image; {REMEDY}")
    return complete_labels(labels.to_pylist(), str(file))


def complete_labels(values: list[Any], where: str) -> list[Any]:
    """The labels, all integers or all text, if there is one for every row."""
    for row, value in enumerate(values):
        # -1 is how the Hugging Face layout marks a row without a label.
        if value is None or (not isinstance(value, str) and value < 0):
            raise UsageError(f"row {row} of {where!r} has no label; label every row, or {REMEDY}")
    return [value if isinstance(value, str) else int(value) for value in values]


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
    """What `datasets` writes for a ClassLabel; None where the metadata has another form."""
    try:
        names = json.loads(metadata or b"")["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names]
