"""Features of very many images: a folder of Parquet files, which several processes write side by side."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from selfsup.data import Source, subset
from selfsup.data.fingerprint import fingerprint
from selfsup.data.readers.values import Range
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.embeddings import PART, embed, write_embeddings
from selfsup.files import read_json, written_whole
from selfsup.text import shown

ROWS = 2**16  # images a part
RECORD = "parts.json"  # what the parts are made of


class Part(NamedTuple):
    """Consecutive images of a split, and their file's name."""

    split: str
    start: int
    stop: int
    file: str


def parts_of(sizes: Mapping[str, int], rows: int = ROWS) -> list[Part]:
    """The parts of splits of these sizes, in order.

    >>> [part[:3] for part in parts_of({"train": 5, "test": 2}, rows=4)]
    [('train', 0, 4), ('train', 4, 5), ('test', 0, 2)]
    """
    cut = [
        (split, start, min(start + rows, size))
        for split, size in sizes.items()
        for start in range(0, size, rows)
    ]
    return [Part(*part, PART.format(i, len(cut))) for i, part in enumerate(cut)]


def write_parts(
    folder: Path,
    encoder: Encoder,
    sources: Mapping[str, Source],
    range_: Range | None = None,
    *,
    rank: int = 0,
    world: int = 1,
    rows: int = ROWS,
    batch_size: int = 256,
    precision: str = "float32",
    workers: int | str = 0,
    skipped: list[tuple[str, str]] | None = None,
) -> int:
    """Write those parts of the features that are this process's and not there yet; returns their images.

    Process ``rank`` of ``world`` takes every ``world``-th part, so that none waits for another. A part is a
    file of :func:`~selfsup.evaluation.features.embeddings.write_embeddings` and gets its name once it is
    whole. So any number of processes, killed and started again at any moment, leaves the same bytes.

    Args:
        rows: images a part.
        batch_size, precision, workers, skipped: as for
            :func:`~selfsup.evaluation.features.embeddings.embed`.

    Raises:
        UsageError: the folder's parts are of another encoder, other images or other settings, or it holds
            other things.
        OSError: the disk is full, or refuses otherwise.
    """
    sizes = {split: len(source) for split, source in sources.items()}
    about = {
        "encoder": encoder.fingerprint(),
        "images": sizes,
        "data": {split: fingerprint(source) for split, source in sources.items()},
        "range": range_,
        "precision": precision,
        "batch_size": batch_size,
        "rows": rows,
    }
    _begin(folder, json.loads(json.dumps(about)))
    count = 0
    for part in parts_of(sizes, rows)[rank::world]:
        if not (folder / part.file).exists():
            source = {part.split: subset(sources[part.split], torch.arange(part.start, part.stop))}
            blocks = embed(encoder, source, batch_size, workers, precision, skipped)
            count += write_embeddings(folder / part.file, encoder, blocks, range_)
    return count


def _begin(folder: Path, about: dict[str, Any]) -> None:
    """Make the folder, or see that it is that of the same features."""
    record = folder / RECORD
    # Looked at before the record: another process may begin meanwhile.
    full = folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir())
    if record.exists():
        try:
            before = read_json(record)
        except (OSError, ValueError) as error:
            raise UsageError(f"'{shown(record)}' cannot be read ({error}); name another folder") from error
        differing = [key for key in about if before.get(key) != about[key]]
        if differing:
            raise UsageError(
                f"the features in '{shown(folder)}' differ from these in {', '.join(differing)}; go on with "
                "the same command, or name another folder with out="
            )
    elif full:
        raise UsageError(f"'{shown(folder)}' is not a folder of features; name another with out=")
    else:
        with written_whole(record, make_folders=True) as file:  # each process writes the same
            file.write(json.dumps(about, indent=1).encode())
