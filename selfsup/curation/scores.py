"""Scores of images from a table: any filter from elsewhere decides what to learn from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selfsup.data import Source
from selfsup.data.labels import positions
from selfsup.errors import UsageError
from selfsup.text import as_text, shown


def read_scores(file: str, column: str, source: Source) -> Tensor:
    """A column of a table, for each image of a source: float64 ``(N,)``, NaN for those without a score.

    The table is Parquet, or CSV (``.csv``) with a header. Its column ``position`` or ``name``, or both, says
    which image a row is of; of rows with a column ``split`` those of ``train`` count. Truth is 1 and 0.

    Args:
        source: the training images that positions count.

    Raises:
        UsageError: it cannot be read, has no such column of numbers, or its rows are of other images.
    """
    table = _read(file)
    if column not in table.column_names:
        raise UsageError(f"'{shown(file)}' has no column '{column}'; it has {', '.join(table.column_names)}")
    if "split" in table.column_names:
        table = table.filter(pc.equal(table["split"], "train"))
    rows = _rows(table, file, source)
    if len(rows.unique()) < len(rows):
        raise UsageError(f"'{shown(file)}' has several rows of one image; leave one of each")
    scores = torch.full((len(source),), torch.nan, dtype=torch.float64)
    scores[rows] = _numbers(table[column], file, column)
    return scores


def chosen_by(
    scores: Tensor, above: float | None = None, below: float | None = None, top: float | None = None
) -> Tensor:
    """Positions of the images whose score is above one number or below another, or the top share: ascending.

    Args:
        scores: float64 ``(N,)``; images without one, NaN, are never kept.
        above, below: the score has to be strictly above, and strictly below.
        top: a share of the images with a score, of the largest; the first of equal ones.

    >>> scores = torch.tensor([0.1, 0.9, 0.5, torch.nan])
    >>> chosen_by(scores, above=0.2).tolist(), chosen_by(scores, top=0.34).tolist()
    ([1, 2], [1])
    """
    if top is not None:
        known = (~scores.isnan()).nonzero().flatten()
        order = known[scores[known].argsort(descending=True, stable=True)]
        return order[: max(1, int(len(known) * top + 1e-9))].sort().values
    kept = ~scores.isnan()
    if above is not None:
        kept &= scores > above
    if below is not None:
        kept &= scores < below
    return kept.nonzero().flatten()


def _read(file: str) -> pa.Table:
    path = Path(file).expanduser()
    try:
        return pyarrow.csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"'{shown(file)}' cannot be read as a Parquet or CSV table: {str(error).splitlines()[0]}"
        ) from error


def _rows(table: pa.Table, file: str, source: Source) -> Tensor:
    """The position of the image of each row."""
    where = f"'{shown(file)}'"
    names = [str(name) for name in table["name"].to_pylist()] if "name" in table.column_names else None
    if "position" not in table.column_names:
        if names is None:
            raise UsageError(
                f"{where} has neither a column 'name' nor 'position', which say whose a score is"
            )
        return positions([source], names, where)
    given = _numbers(table["position"], file, "position")
    rows = given.nan_to_num(-1).long()
    outside = rows[(rows < 0) | (rows >= len(source)) | (rows != given)]
    if len(outside):
        raise UsageError(f"{where} has positions beyond the {len(source)} images; is it of other data?")
    for row, name in zip(rows.tolist(), names or [], strict=False):
        own = as_text(source.name(row))
        if name != own and not own.endswith(f"/{name}"):
            raise UsageError(
                f"{where} is of other data: its image {row} is '{shown(name)}', and here it is '{shown(own)}'"
            )
    return rows


def _numbers(column: pa.ChunkedArray, file: str, name: str) -> Tensor:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UsageError(f"column '{name}' of '{shown(file)}' holds {kind}, not numbers")
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
    values = [torch.nan if each is None else each for each in numbers.to_pylist()]
    return torch.tensor(values, dtype=torch.float64)
