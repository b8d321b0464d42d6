"""Features of images as a Parquet file: written a batch at a time, read back for search."""

import builtins
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from pyarrow import ArrowException
from torch import Tensor

from selfsup.data import Source
from selfsup.data.readers.values import Range
from selfsup.data.workers import worker_count
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.extract import evaluating
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.images import batches, fitting
from selfsup.files import written_whole
from selfsup.text import as_text, shown

FINGERPRINT, RANGE = b"selfsup.encoder", b"selfsup.range"
PART = "part-{:05}-of-{:05}.parquet"  # a file of several, in a folder
_PART = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")


def embed(
    encoder: Encoder,
    sources: Mapping[str, Source],
    batch_size: int = 256,
    workers: int | str = 0,
    precision: str = "float32",
    skipped: list[tuple[str, str]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Features of every readable image, a batch at a time.

    Args:
        encoder: on its device.
        sources: splits by name.
        batch_size, precision: as for :func:`selfsup.evaluation.extract`.
        workers: as ``data.workers``: a number of processes that decode, or "auto".
        skipped: gets the ``(name, reason)`` of images that cannot be read.

    Yields:
        ``split``; ``names``, a list; ``labels``, int64 ``(B,)`` or None; ``classes``, their names, a list or
        None; ``x``, float32 ``(B, D)``.
    """
    with evaluating(encoder):
        frozen = FrozenEncoder(encoder, encoder.mean, encoder.std, precision)
        for split, source in sources.items():
            rows = torch.arange(len(source))
            count, to = worker_count(workers, source), fitting(encoder)
            for index, images in batches(source, rows, to, batch_size, count, skipped):
                labels = None if source.labels is None else source.labels[index]
                yield {
                    "split": split,
                    "names": [source.name(i) for i in index.tolist()],
                    "labels": labels,
                    "classes": _named(source.classes, labels),
                    "x": frozen(images),
                }


def _named(classes: list[str] | None, labels: Tensor | None) -> list[str] | None:
    return None if classes is None or labels is None else [classes[i] for i in labels.tolist()]


def write_embeddings(
    path: str | Path, encoder: Encoder, blocks: Iterator[dict[str, Any]], range: Range | None = None
) -> int:
    """Write blocks of :func:`embed` to a Parquet file; returns the number of images.

    Columns: ``name`` and ``split`` (text), ``label`` (int64, null without labels), ``class`` (its name, null
    where there is none), ``features`` (a list of D float32). Bytes of a name that are no UTF-8 are written as
    ``\\xNN``. The schema's metadata holds the encoder's fingerprint, and the ``range`` of values that the
    images were read with. Memory is that of a batch; the file gets its name once it is complete.

    Raises:
        UsageError: the file exists.
        OSError: the disk is full, or refuses otherwise.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise UsageError(f"'{path}' exists and is not overwritten; name another file with out=")
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("split", pa.string()),
            ("label", pa.int64()),
            ("class", pa.string()),
            ("features", pa.list_(pa.float32(), encoder.dim)),
        ],
        metadata={FINGERPRINT: encoder.fingerprint().encode(), RANGE: json.dumps(range).encode()},
    )
    count = 0
    whole = written_whole(path, overwrite=False, make_folders=True)
    with whole as file, pq.ParquetWriter(file, schema) as writer:
        for block in blocks:
            rows = len(block["names"])
            labels = [None] * rows if block["labels"] is None else block["labels"].tolist()
            named: list[str | None] = block["classes"] or [None] * rows
            flat = pa.array(block["x"].float().flatten().numpy())
            columns = [
                pa.array([as_text(name) for name in block["names"]], pa.string()),
                pa.array([block["split"]] * rows, pa.string()),
                pa.array(labels, pa.int64()),
                pa.array([name and as_text(name) for name in named], pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, encoder.dim),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += rows
    return count


def read_embeddings(
    path: str | Path, encoder: Encoder | None, range: Range | None = None, split: str | None = None
) -> tuple[list[str], Tensor]:
    """Names and features ``(N, D)`` of a file of :func:`write_embeddings`, or of a folder of its parts.

    Args:
        encoder: that has to have made them; None takes those of any.
        split: "train" or "test" for the images of one; None for all.
        range: the range of values with which the images to compare are read.

    Raises:
        UsageError: it is not such a file, or of another encoder or another range of values.
    """
    tables = []
    try:
        for each in _files(Path(path)):
            with open(each, "rb") as file:  # whose name may not be text
                tables.append(pq.read_table(file, columns=["name", "split", "features"]))
        table = pa.concat_tables(tables)
    except (OSError, ArrowException) as error:
        raise UsageError(
            f"'{path}' holds no features ({str(error).splitlines()[0]}); write it with embed"
        ) from error
    made = (table.schema.metadata or {}).get(FINGERPRINT)
    if made is None or (encoder is not None and made != encoder.fingerprint().encode()):
        raise UsageError(f"the features in '{path}' are another encoder's; write them again with embed")
    written = (table.schema.metadata or {}).get(RANGE, b"null").decode(errors="replace")
    if written != json.dumps(range):
        raise UsageError(
            f"the features in '{path}' are of images read with data.range={written.replace(' ', '')}, and "
            f"not {json.dumps(range).replace(' ', '')}; pass that range, or write them again with embed"
        )
    kind = table.schema.field("features").type
    width = encoder.dim if encoder is not None else getattr(kind, "list_size", 0)
    texts = [table.schema.field(name).type for name in ("name", "split")]
    if texts != 2 * [pa.string()] or kind != pa.list_(pa.float32(), width) or table["name"].null_count:
        raise UsageError(f"'{path}' holds no names with {width} features each; write it with embed")
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    flat = np.array(table["features"].combine_chunks().flatten())
    return table["name"].to_pylist(), torch.from_numpy(flat).view(-1, width)


def rows_named(source: Source, names: Sequence[str], file: str) -> Tensor:
    """The position of the image of each row of a file of features, whose rows are in the images' order.

    Raises:
        UsageError: a row is of another image.

    >>> from selfsup.data import ImageArray
    >>> three = ImageArray(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    >>> rows_named(three, ["image 0", "image 2"], "f.parquet")
    tensor([0, 2])
    """
    own = iter([(i, as_text(source.name(i))) for i in builtins.range(len(source))])
    rows = []
    for name in names:
        row = next((i for i, each in own if each == name), None)
        if row is None:
            raise UsageError(
                f"the features in '{file}' are of other images: '{shown(name)}' is not one of the training "
                "images, or out of their order; write them again with embed and the same data"
            )
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64)


def _files(path: Path) -> list[Path]:
    """The files with the features in a file or folder, in the order of the images.

    Raises:
        UsageError: the folder has no parts, or not all.
    """
    if not path.is_dir():
        return [path]
    found = sorted(match.groups() for each in path.iterdir() if (match := _PART.fullmatch(each.name)))
    if not found:
        raise UsageError(f"'{shown(path)}' holds no features; write them with embed")
    count = int(found[0][1])
    files = [path / PART.format(i, count) for i in range(count)]
    missing = [file.name for file in files if not file.is_file()]
    if missing or len(found) > count:
        raise UsageError(
            f"'{shown(path)}' has {count - len(missing)} of {count} parts, not '{missing[0]}'; start "
            "the same embed again, which writes the others"
            if missing
            else f"'{shown(path)}' has the parts of two sets of features; keep each in a folder of its own"
        )
    return files
