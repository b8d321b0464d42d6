"""Images in parquet files of the Hugging Face layout."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.data.decisions import Decisions
from selfsup.data.holdout import held_out_count, hold_out
from selfsup.data.readers.parquet_files import find_files, one_line, open_parquet
from selfsup.data.readers.parquet_labels import label_column as find_label_column
from selfsup.data.readers.parquet_labels import read_labels
from selfsup.data.readers.paths import are_the_same
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.data.splits import Splits
from selfsup.errors import UsageError

LARGEST = 2**30  # bytes of a row group, unpacked
ROWS = 64  # of a row group that are unpacked together
CACHE = 256 * 2**20  # bytes of encoded images that each process keeps in memory


def parquet(
    train: str,
    test: str | None = None,
    *,
    labels: str | bool = "auto",
    test_fraction: float,
    image_column: str = "image",
    label_column: str | None = None,
) -> tuple[Source, Source]:
    """Images and labels from parquet files: a column of structs {bytes, path} (or of plain bytes), and one
    of integer or text labels, whose names may stand in the schema's metadata.

    Args:
        train: a file, a folder of files, or a pattern such as "data/train-*.parquet".
        test: the same for the test split; None holds out `test_fraction` of the training files' rows. The
            same files as `train` are meant to be sliced: both sources are then identical.
        labels: "auto" takes labels if there is a label column, True insists on them, False ignores them.
        label_column: None: the one called label, or else the only one with values like labels.

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if files or columns are missing or damaged, or labels are incomplete.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    splits = [find_files(train, "train")] + ([] if test is None else [find_files(test, "test")])
    if test is not None and are_the_same(*splits):
        splits.pop()
    images = [ParquetImages(files, image_column) for files in splits]
    for name, where, found in zip(("train", "test"), (train, test), images, strict=False):
        if not len(found):
            raise UsageError(f"{where!r} (data.{name}) holds no images: it has no rows")

    values: list[Tensor | None] = [None] * len(splits)
    classes = None
    column, why = find_label_column(splits[0], image_column, label_column, labels)
    if column is not None:
        values, classes = read_labels(splits, column)
    decided = Decisions(labels=why)
    sources: list[Source] = [
        ImageFiles(found, values_, classes, found.names())
        for found, values_ in zip(images, values, strict=True)
    ]
    for source in sources:
        source.decisions = decided
    if test is None:
        return held_out(sources[0], train, test_fraction, "pass data.test=FILE")
    return sources[0], sources[-1]


def held_out(whole: Source, where: str, fraction: float, remedy: str) -> tuple[Source, Source]:
    """Training and test images of rows without a split; `where` is named in error messages."""
    if len(whole) < 2:
        raise UsageError(f"{where!r} (data.train) holds only one image; at least two are needed")
    # The place within the files, not their names: the same split wherever the files are moved.
    keys = [f"row {i}" for i in range(len(whole))]
    learn, held = hold_out(keys, whole.labels, held_out_count(len(whole), fraction))
    if not len(held):
        raise UsageError(f"each class in {where!r} has a single image; {remedy}")
    whole.decisions.splits = f"{len(held)} of {len(whole)} images are held out for testing"
    return subset(whole, learn), subset(whole, held)


def with_test(readers: Mapping[str, Callable[[], Source]], where: str, fraction: float) -> Splits:
    """Splits with a "test": the one of that name, else "validation", else some of "train", held out."""
    for name in ("test", "validation"):
        if name in readers:
            return Splits({**readers, "test": readers[name]})

    @cache
    def both() -> tuple[Source, Source]:
        return held_out(readers["train"](), where, fraction, "add a test split")

    return Splits({**readers, "train": lambda: both()[0], "test": lambda: both()[1]})


class ParquetImages:
    """The encoded images of some parquet files as a sequence of bytes; can be pickled.

    Rows are read by row group; as many groups are kept as fit in 256 MiB.

    Raises:
        UsageError: if a file cannot be read, or has no column of images.
    """

    def __init__(self, files: Iterable[Path], column: str):
        self.column = column
        self.groups: list[tuple[Path, int]] = []
        starts = [0]
        largest = 1
        for file in files:
            opened = open_parquet(file)
            _check_column(file, opened.schema_arrow, column)
            for g in range(opened.num_row_groups):
                group = opened.metadata.row_group(g)
                if (size := _unpacked(group, column)) > LARGEST:
                    raise UsageError(
                        f"row group {g} of {str(file)!r} is {size / 2**30:.1f} GiB, and is read as a whole; "
                        "write the file again with fewer rows a group"
                    )
                self.groups.append((file, g))
                starts.append(starts[-1] + group.num_rows)
                largest = max(largest, group.total_byte_size)
        self.starts = torch.tensor(starts)
        self.kept = max(1, CACHE // largest)
        self._read = lru_cache(self.kept)(self._read_group)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, i: int, /) -> bytes:
        """The encoded image of row i, empty if the row has none.

        Raises:
            OSError: if its part of the file is damaged.
        """
        if not 0 <= i < len(self):
            raise IndexError(i)
        group = int(torch.searchsorted(self.starts, i, right=True)) - 1
        value = self._read(group)[i - int(self.starts[group])].as_py()
        return value if value is not None else b""

    def names(self) -> "RowNames":
        """The name of each image, such as "file.parquet row 17"; rows count from 0 in each file."""
        return RowNames([str(file) for file, _ in self.groups], self.starts)

    def _read_group(self, group: int) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        file, g = self.groups[group]
        try:
            column = pa.chunked_array(self._batches(file, g))
        except (pa.ArrowException, UsageError, OSError) as error:
            raise OSError(f"row group {g} of {str(file)!r} is damaged: {one_line(error)}") from error
        return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column

    def _batches(self, file: Path, group: int) -> Iterator[Any]:
        # A value that is stored once may be in every row, so that a small file can unpack to any size.
        left = LARGEST
        for batch in open_parquet(file).iter_batches(ROWS, row_groups=[group], columns=[self.column]):
            left -= batch.nbytes
            if left < 0:
                raise OSError(f"it unpacks to more than {LARGEST} bytes")
            yield batch.column(0)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._read = lru_cache(self.kept)(self._read_group)


class RowNames:
    """Names of the rows of some files, made on demand.

    Args:
        files: G names, the same one for row groups of one file.
        starts: int64 (G + 1,), the rows before each group, and all rows.
    """

    def __init__(self, files: list[str], starts: Tensor):
        self.starts = starts
        firsts: dict[str, int] = {}
        self.groups = [(file, firsts.setdefault(file, int(starts[g]))) for g, file in enumerate(files)]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, i: int, /) -> str:
        file, first = self.groups[int(torch.searchsorted(self.starts, i, right=True)) - 1]
        return f"{file} row {i - first}"


def _unpacked(group: Any, column: str) -> int:
    """Bytes of a column of a row group, as the file says."""
    parts = (group.column(number) for number in range(group.num_columns))
    return sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] == column)


def _check_column(file: Path, schema: Any, column: str) -> None:
    import pyarrow as pa

    if column not in schema.names:
        raise UsageError(
            f"{str(file)!r} has no column {column!r}; pass data.source.image_column=NAME, "
            f"one of: {', '.join(schema.names)}"
        )
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UsageError(
            f"column {column!r} of {str(file)!r} holds {kind}, not encoded images (bytes and path)"
        )
