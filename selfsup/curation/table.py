"""The inspection as a Parquet table, one row an image."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selfsup.curation.inspection import Inspection
from selfsup.files import written_whole
from selfsup.text import as_text

_NUMBERS = {
    "bytes": pa.int64(), "width": pa.int32(), "height": pa.int32(), "channels": pa.int32(),
    "low": pa.int32(), "high": pa.int32(), "mean": pa.float32(), "std": pa.float32(),
}  # fmt: skip


def table(found: Inspection) -> pa.Table:
    """Columns of what each image is, of its copies, and of what its neighbours say; null where nothing is known.

    ``position`` counts as ``data.indices=FILE`` does. ``group`` numbers exact copies and ``near`` gives the
    lowest position of an image's near copies in its split. ``kept`` is false of training images that repeat
    another, or a test image; ``similarity`` is to the candidate that matches best.
    """
    seen, count = found.seen, len(found.seen)
    sizes = found.component.bincount(minlength=count)[found.component]
    of_exact = found.exact.bincount(minlength=count)[found.exact]
    lowest: dict[tuple[int, bool], int] = {}
    split = list(zip(found.component.tolist(), found.test.tolist(), strict=True))
    for key, place in zip(split, found.position.tolist(), strict=True):
        lowest.setdefault(key, place)
    best = torch.full((count,), -2.0)
    for side in (found.pairs.first, found.pairs.second):
        best.scatter_reduce_(0, side, found.pairs.similarity, "amax")
    best[of_exact > 1] = 1.0
    label = [each if each >= 0 else None for each in found.labels.tolist()]
    columns = {
        "name": pa.array([as_text(each.name) for each in seen], pa.string()),
        "split": pa.array(["test" if each else "train" for each in found.test.tolist()]),
        "position": pa.array(found.position.numpy()),
        **{key: pa.array([getattr(each, key) for each in seen], kind) for key, kind in _NUMBERS.items()},
        "digest": pa.array([each.digest for each in seen], pa.string()),
        "pixels": pa.array([each.pixels for each in seen], pa.string()),
        "format": pa.array([each.format or None for each in seen], pa.string()),
        "group": _where(found.exact, of_exact > 1),
        "near": _where(torch.tensor([lowest[key] for key in split]), sizes > 1),
        "similarity": _where(best, best > -2),
        "copy_of_test": pa.array(found.leaked.numpy()),
        "kept": pa.array((~found.dropped).numpy()),
        "outlier": _spread(found, found.strange),
        "cluster": _spread(found, found.cluster),
        "label": pa.array(label, pa.int64()),
        "class": pa.array([None if i is None else as_text(found.classes[i]) for i in label], pa.string()),
        "other_label": _spread(found, found.other),
        "label_quality": _spread(found, found.quality),
        "reason": pa.array([each.reason and as_text(each.reason) for each in seen], pa.string()),
    }
    return pa.table(columns)


def write_table(path: Path, found: Inspection) -> None:
    """Write it whole, in place of nothing."""
    with written_whole(path, overwrite=False, make_folders=True) as file:
        pq.write_table(table(found), file)


def _where(values: Tensor, known: Tensor) -> pa.Array:
    return pa.array(values.numpy(), mask=(~known).numpy())


def _spread(found: Inspection, values: Tensor | None) -> pa.Array:
    """Values of the readable images as a column of all."""
    if values is None:
        return pa.nulls(len(found.seen), pa.float32())
    whole, known = values.new_zeros(len(found.seen)), torch.zeros(len(found.seen), dtype=torch.bool)
    whole[found.readable], known[found.readable] = values, True
    return _where(whole, known)
