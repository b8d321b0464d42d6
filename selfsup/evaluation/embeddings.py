"""Features of images as a Parquet file: written a batch at a time, read back for search."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import ArrowException
from torch import Tensor

from selfsup.data import Source
from selfsup.data.values import Range
from selfsup.data.workers import worker_count
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features import Look, evaluating
from selfsup.evaluation.images import batches, fitting

FINGERPRINT, RANGE = b"selfsup.encoder", b"selfsup.range"


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
        encoder: on the device it is to run on.
        sources: splits by name.
        batch_size, precision: as for :func:`selfsup.evaluation.extract`.
        workers: as ``data.workers``: a number of processes that decode, or "auto".
        skipped: gets the ``(name, reason)`` of images that cannot be read.

    Yields:
        ``split``; ``names``, a list; ``labels``, int64 ``(B,)`` or None; ``x``, float32 ``(B, D)``.
    """
    with evaluating(encoder):
        look = Look(encoder, encoder.mean, encoder.std, precision)
        for split, source in sources.items():
            rows = torch.arange(len(source))
            count, to = worker_count(workers, source), fitting(encoder)
            for index, images in batches(source, rows, to, batch_size, count, skipped):
                yield {
                    "split": split,
                    "names": [source.name(i) for i in index.tolist()],
                    "labels": None if source.labels is None else source.labels[index],
                    "x": look(images),
                }


def write_embeddings(
    path: str | Path, encoder: Encoder, blocks: Iterator[dict[str, Any]], range: Range | None = None
) -> int:
    """Write blocks of :func:`embed` to a Parquet file; returns the number of images.

    Columns: ``name`` and ``split`` (text), ``label`` (int64, null without labels), ``features`` (a list of D
    float32). The schema's metadata holds the encoder's fingerprint, and the ``range`` of values that
    the images were read with. Memory is that of a batch.

    Raises:
        UsageError: the file exists.
    """
    path = Path(path)
    if path.exists():
        raise UsageError(f"'{path}' exists and is not overwritten; name another file with out=")
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("split", pa.string()),
            ("label", pa.int64()),
            ("features", pa.list_(pa.float32(), encoder.dim)),
        ],
        metadata={FINGERPRINT: encoder.fingerprint().encode(), RANGE: json.dumps(range).encode()},
    )
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as writer:
        for block in blocks:
            rows = len(block["names"])
            labels = [None] * rows if block["labels"] is None else block["labels"].tolist()
            flat = pa.array(block["x"].float().flatten().numpy())
            columns = [
                pa.array(block["names"], pa.string()),
                pa.array([block["split"]] * rows, pa.string()),
                pa.array(labels, pa.int64()),
                pa.FixedSizeListArray.from_arrays(flat, encoder.dim),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += rows
    return count


def read_embeddings(
    path: str | Path, encoder: Encoder, range: Range | None = None
) -> tuple[list[str], Tensor]:
    """Names and features ``(N, D)`` of a file of :func:`write_embeddings`.

    Args:
        range: of values that images to compare with are read with.

    Raises:
        UsageError: it is no such file, another encoder's, or of images that were read with another range.
    """
    try:
        table = pq.read_table(path, columns=["name", "features"])
    except (OSError, ArrowException) as error:
        raise UsageError(
            f"'{path}' holds no features ({str(error).splitlines()[0]}); write it by embed"
        ) from error
    if (table.schema.metadata or {}).get(FINGERPRINT, b"").decode() != encoder.fingerprint():
        raise UsageError(f"the features in '{path}' are another encoder's; write them anew by embed")
    written = (table.schema.metadata or {}).get(RANGE, b"null").decode(errors="replace")
    if written != json.dumps(range):
        raise UsageError(
            f"the features in '{path}' are of images read with data.range={written.replace(' ', '')}, and "
            f"not {json.dumps(range).replace(' ', '')}; pass that range, or write them again by embed"
        )
    flat = np.array(table["features"].combine_chunks().flatten())
    return table["name"].to_pylist(), torch.from_numpy(flat).view(-1, encoder.dim)
