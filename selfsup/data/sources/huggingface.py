"""A data set of the Hugging Face hub, or in its library's own formats on disk, through `datasets`."""

from functools import partial
from pathlib import Path
from typing import Any

from selfsup.data.readers.labels import label_text
from selfsup.data.readers.names import Numbered
from selfsup.data.readers.parquet_labels import REMEDY, complete_labels, number_labels
from selfsup.data.readers.roles import role
from selfsup.data.source import ImageFiles, Source
from selfsup.data.sources.parquet import with_test
from selfsup.data.splits import Splits
from selfsup.errors import UsageError

FIRST = 10_000  # rows by which a column is judged
_LABELS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string")


def huggingface(
    name: str,
    subset: str | None,
    labels: str | bool,
    image_column: str | None,
    label_column: str | None,
    *,
    test_fraction: float,
) -> Splits:
    """A data set by its name on the hub, or a local folder that `datasets` reads or has saved.

    Args:
        name: such as "uoft-cs/cifar10"; a folder; or one that `save_to_disk` has written.
        subset: a configuration of the hub, or None for the only one.
        labels: "auto" takes labels if there are some, True insists on them, False ignores them.
        image_column: None takes the only column of images.
        label_column: None takes the only column of class labels, or else the one called "label", or else the
            only one with repeating values, as labels have.
        test_fraction: in (0, 1), of the training images; held out where there is no split for testing.

    Returns:
        Sources by split. "test" is the split of that name, else "validation", else held out.

    Raises:
        UsageError: if `datasets` is not installed, there is no such data set or column, it cannot be
            downloaded, or labels are incomplete.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    parts = _load(str(name), subset)
    parts = _with_training(parts, str(name))
    features = parts["train"].features
    images = _image_column(features, image_column, name)
    column = None if labels is False else _label_column(parts["train"], label_column)
    if labels is True and column is None:
        raise UsageError(f"{name!r} has no column of class labels; pass data.label_column=NAME, or {REMEDY}")
    if column is not None and column not in features:
        raise UsageError(f"{name!r} has no column {column!r} (it has {', '.join(features)}); name another")

    def read(split: str) -> Source:
        part = parts[split]
        called = Numbered(f"{name} {split}", len(part))
        if column is None:
            return ImageFiles(Images(part, images), names=called)
        values = [_labels(parts[key], column, f"{name} {key}") for key in ("train", split)]
        if values[0] is None or values[1] is None:
            return ImageFiles(Images(part, images), names=called)
        numbers, classes = number_labels(
            [value for value in values if value is not None], getattr(features[column], "names", None), column
        )
        return ImageFiles(Images(part, images), numbers[1], classes, called)

    return with_test({split: partial(read, split) for split in parts}, str(name), test_fraction)


def _with_training(parts: dict[str, Any], name: str) -> dict[str, Any]:
    """The splits, with one called "train"; never one for testing, unless it is the only one."""
    if "train" in parts:
        return parts
    if len(parts) == 1:
        [(split, part)] = parts.items()
        return {"train": part} if role(split) else {"train": part, split: part}
    meanings = {split: role(split) for split in parts}
    likely = [split for meaning in ("train", None) for split in parts if meanings[split] == meaning]
    if not likely:
        raise UsageError(
            f"{name!r} has no split to learn from, but {', '.join(parts)}; choose with data.train=SPLIT"
        )
    return {"train": parts[likely[0]], **{split: part for split, part in parts.items() if split != likely[0]}}


class Images:
    """The encoded images of a `datasets.Dataset` as a sequence of bytes or paths; can be pickled."""

    def __init__(self, part: Any, column: str):
        from datasets import Image

        self.part, self.column = (
            part.select_columns([column]).cast_column(column, Image(decode=False)),
            column,
        )

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, i: int, /) -> bytes | str:
        value = self.part[i][self.column] or {}
        return value.get("bytes") or value.get("path") or b""


def _load(name: str, subset: str | None) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "data=huggingface needs the package datasets; install it with pip install 'selfsup[datasets]', "
            "or read downloaded parquet files with data=parquet_folder"
        ) from error
    local = Path(name).expanduser()
    saved = any((local / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            found = datasets.load_from_disk(str(local))
        else:
            found = datasets.load_dataset(str(local) if local.is_dir() else name, subset)
    # Its exceptions for a wrong name, a missing configuration, damaged files, and without a network.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"the data set {name!r} cannot be loaded ({reason}); check data.name and the network, or "
            "download its parquet files and read them with data=parquet_folder"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _image_column(features: Any, wanted: str | None, name: str) -> str:
    from datasets import Image

    # Files whose metadata do not say so hold images as {bytes, path}.
    images = [
        column
        for column, feature in features.items()
        if isinstance(feature, Image) or (isinstance(feature, dict) and "bytes" in feature)
    ]
    if wanted is not None and wanted not in images:
        raise UsageError(f"{name!r} has no column of images {wanted!r}; it has {', '.join(images) or 'none'}")
    if wanted is None and len(images) != 1:
        raise UsageError(
            f"{name!r} has {len(images)} columns of images ({', '.join(features)} are its columns); choose "
            "one with data.image_column=NAME"
        )
    return wanted or images[0]


def _label_column(part: Any, wanted: str | None) -> str | None:
    from datasets import ClassLabel

    if wanted is not None:
        return wanted
    features = part.features
    labels = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
    if len(labels) == 1 or "label" in features:
        return labels[0] if len(labels) == 1 else "label"
    found = [column for column in labels or part.features if _repeats(part, column)]
    return found[0] if len(found) == 1 else None


def _repeats(part: Any, column: str) -> bool:
    """Whether the first values of a column repeat, as labels do."""
    if getattr(part.features[column], "dtype", None) not in _LABELS:
        return False
    few = part.select_columns([column]).with_format("arrow")[:FIRST][column].to_pylist()
    values = [label_text(value) for value in few]
    return None not in values and 2 <= len(set(values)) <= len(values) / 3


def _labels(part: Any, column: str, where: str) -> list[Any] | None:
    """The labels of a split, None if it has none at all."""
    if column not in part.features:
        return None
    values = part.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    if all(value is None or value == -1 for value in values):
        return None
    if not all(value is None or isinstance(value, int | float | str) for value in values):
        raise UsageError(f"column {column!r} of {where!r} holds no labels, but {values[0]!r}; {REMEDY}")
    return complete_labels(values, where)
