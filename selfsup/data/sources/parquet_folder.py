"""A folder of parquet files whose names say their split, as Hugging Face's `datasets` has them."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from selfsup.data.decisions import Decisions
from selfsup.data.readers.nodes import listed
from selfsup.data.readers.parquet_labels import label_column as find_label_column
from selfsup.data.readers.parquet_labels import read_labels
from selfsup.data.readers.paths import existing_folder
from selfsup.data.readers.roles import role
from selfsup.data.source import ImageFiles, Source
from selfsup.data.sources.parquet import ParquetImages, with_test
from selfsup.data.splits import Splits
from selfsup.errors import UsageError

WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def parquet_folder(
    root: str, labels: str | bool, *, test_fraction: float, image_column: str, label_column: str | None
) -> Splits:
    """The parquet files below a folder, each of the split that its name says.

    ``NAME-00000-of-00002.parquet`` is of the split NAME; other files are of the split named in the file's
    name, or else in that of a folder above it; files without one are for training.

    Args:
        root: the folder.
        labels: "auto" takes labels of the splits that have them, True insists on them, False ignores them.
        test_fraction: in (0, 1), of the training images; held out where there is no split for testing.
        image_column, label_column: as for `parquet`.

    Returns:
        Sources by split. "test" is the split of that name, else "validation", else held out.

    Raises:
        UsageError: if there are no files, none for training, or as for `parquet`.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    found = split_files(existing_folder(root, "parquet_folder"))
    if not found:
        raise UsageError(f"no .parquet files in {root!r}")
    if "train" not in found:
        raise UsageError(
            f"no training split in {root!r}, but {', '.join(found)}; name the files to learn from with "
            "data=parquet data.train=FILES"
        )

    learned, without = find_label_column(found["train"], image_column, label_column, labels)
    others = sorted(set(found) - {"train"})
    unused = f"images of {listed(others)} are not learned from" if others else ""
    decided = Decisions(unused)

    def read(files: list[Path]) -> Source:
        images = ParquetImages(files, image_column)
        if not len(images):
            raise UsageError(f"{str(files[0])!r} holds no images: it has no rows")
        column, why = None, without
        if learned is not None:
            column, why = find_label_column(files, image_column, learned, labels)
        source = ImageFiles(images, names=images.names())
        if column is not None:
            [_, values], classes = read_labels([found["train"], files], column)
            source = ImageFiles(images, values, classes, images.names())
        source.decisions = replace(decided, labels=why)
        return source

    readers = {name: partial(read, files) for name, files in found.items()}
    return with_test(readers, root, test_fraction)


def split_files(top: Path) -> dict[str, list[Path]]:
    """The parquet files below a folder, by split."""
    found: dict[str, list[Path]] = {}
    for file in sorted(top.rglob("*.parquet")):
        found.setdefault(_split(file.relative_to(top)), []).append(file)
    return found


def _split(file: Path) -> str:
    if match := re.fullmatch(r"(.+)-\d+-of-\d+", file.stem):
        return WORDS.get(match[1].lower(), match[1])
    for part in (file.stem, *reversed(file.parts[:-1])):
        if (meaning := role(part)) is not None:
            return meaning
    return "train"
