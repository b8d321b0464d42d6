"""``data.pairs=FILE``: which images belong together, as a table of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from selfsup.data.labels import positions
from selfsup.data.readers.csv_tables import read_csv
from selfsup.data.source import Source
from selfsup.errors import UsageError
from selfsup.text import as_text, shown

_ANSWERS = {"yes": 1, "true": 1, "1": 1, "no": 0, "false": 0, "0": 0, "": -1}
_KINDS = ("intra", "inter")


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, by their positions among those to learn from.

    Attributes:
        ends: ``(E, 2)`` int64.
        same: ``(E,)`` int64: 1 for pairs that belong together, 0 for those that do not, -1 if not answered.
        intra: ``(E,)`` bool, pairs of one object or instance; None where the table does not distinguish.
        elsewhere: pairs left out because an image of theirs is to test on.
    """

    ends: Tensor
    same: Tensor
    intra: Tensor | None
    elsewhere: int = 0

    def edges(self) -> Tensor:
        """The pairs ``(E', 2)`` that belong together, with those that follow where there are instances."""
        yes = self.same == 1
        if self.intra is None:
            return self.ends[yes]
        return transitive(self.ends[yes & ~self.intra], self.ends[yes & self.intra])


def read_pairs(file: str, train: Source, test: Source, setting: str = "data.pairs") -> Pairs:
    """The pairs in a table: CSV or Parquet, or arrays in an NPZ file.

    Columns ``a`` and ``b`` hold names of images, or their ends after a slash, or positions among the images
    to learn from. Column ``same`` may say yes or no, or nothing where nobody has answered; without it all
    pairs belong together. Column ``kind`` may say ``intra`` (two views of one object) or ``inter`` (two
    objects that are alike). An NPZ file has these as arrays; ``edges`` ``(E, 2)`` may stand for ``a`` and
    ``b``.

    Args:
        train: the images to learn from.
        test: the images to test on; pairs with one of them are left out, and counted.

    Raises:
        UsageError: the file cannot be read, names an image that is not there, or contradicts itself.
    """
    path, where = Path(file).expanduser(), f"'{shown(file)}' ({setting})"
    columns = _columns(path, setting)
    ends = torch.stack([_positions(columns[key], train, test, where) for key in ("a", "b")], dim=1)
    count = len(ends)
    if not count:
        raise UsageError(f"{where} lists no pairs")
    same = _coded(columns.get("same"), _ANSWERS, count, f"{where}: same is yes, no or empty")
    kinds = {kind: number for number, kind in enumerate(_KINDS)}
    kind = _coded(columns.get("kind"), kinds, count, f"{where}: kind is intra or inter")
    ours = (ends < len(train)).all(1) & (ends[:, 0] != ends[:, 1])
    elsewhere = int((ends >= len(train)).any(1).sum())
    same = torch.ones(count, dtype=torch.int64) if same is None else same
    found = Pairs(ends[ours], same[ours], None if kind is None else (kind == 0)[ours], elsewhere)
    _require_consistent(found, train, where)
    return found


def transitive(inter: Tensor, intra: Tensor) -> Tensor:
    """All pairs of images that belong together by alike objects and by views of one object.

    If A and A' show one object, and B and B' another that is like the first, then each of the first two
    belongs with each of the others (Wang, He and Gupta 2017, arXiv:1708.02901). Likeness is not carried
    further: what is like B need not be like A.

    Args:
        inter: ``(E, 2)`` int64, pairs of two objects that are alike.
        intra: ``(F, 2)`` int64, pairs of one object.

    Returns:
        ``(G, 2)`` int64, each pair once, the smaller position first, in ascending order.

    >>> transitive(torch.tensor([[0, 2]]), torch.tensor([[0, 1], [2, 3]])).tolist()
    [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    """
    every = torch.cat([inter, intra])
    if not len(every):
        return every
    images, ends = every.unique(return_inverse=True)
    first, second = ends[len(inter) :].T.numpy()
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(images), len(images)))
    object_of = torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
    order = object_of.argsort(stable=True)
    sizes = object_of.bincount()
    members = order.split(sizes.tolist())
    within = torch.arange(len(sizes))[sizes > 1]
    pairs = torch.cat([torch.stack([within, within], 1), object_of[ends[: len(inter)]]]).unique(dim=0)
    all_pairs = [torch.cartesian_prod(members[one], members[other]) for one, other in pairs.tolist()]
    found = images[torch.cat(all_pairs)].sort(dim=1).values
    return found[found[:, 0] != found[:, 1]].unique(dim=0)


def _columns(path: Path, setting: str) -> dict[str, Sequence[Any]]:
    """The columns a and b, and same and kind if they are there."""
    kind = path.suffix.lower()
    try:
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                columns: dict[str, Any] = {key: arrays[key].tolist() for key in arrays}
            if "edges" in columns:
                columns["a"], columns["b"] = np.array(columns["edges"]).reshape(-1, 2).T.tolist()
        elif kind in (".parquet", ".pq"):
            table = pq.read_table(path)
            columns = {key: table[key].to_pylist() for key in table.column_names}
        elif kind in (".csv", ".tsv", ".txt"):
            rows = read_csv(path, setting)
            columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ()) if key}
            columns = columns or {"a": [], "b": []}
        else:
            raise UsageError(f"{setting} is a table of pairs, .csv, .parquet or .npz, not '{shown(path)}'")
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, UsageError):
            raise
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"{setting}: '{shown(path)}' cannot be read: {said}") from error
    if not {"a", "b"} <= columns.keys():
        found = ", ".join(shown(each) for each in columns)
        raise UsageError(f"{setting}: '{shown(path)}' needs the columns a and b, and has {found}")
    lengths = {len(columns[key]) for key in ("a", "b", "same", "kind") if key in columns}
    if len(lengths) > 1 or any(np.ndim(columns[key]) != 1 for key in ("a", "b")):
        raise UsageError(f"{setting}: the columns of '{shown(path)}' are not of one length")
    return columns


def _positions(column: Sequence[Any], train: Source, test: Source, where: str) -> Tensor:
    """Of each entry, those to test on behind those to learn from."""
    values = list(column)
    if all(isinstance(each, int) or (isinstance(each, str) and each.strip().isdecimal()) for each in values):
        rows = torch.tensor([int(each) for each in values], dtype=torch.int64)
        outside = rows[(rows < 0) | (rows >= len(train))]
        if len(outside):
            raise UsageError(f"{where} has image {int(outside[0])}, but there are 0 to {len(train) - 1}")
        return rows
    if missing := [row for row, each in enumerate(values) if not isinstance(each, str | int) or each == ""]:
        raise UsageError(
            f"{where}: row {missing[0] + 1} names no image; fill in both its images, or remove it"
        )
    return positions([train, test], [as_text(str(each)) for each in values], where)


def _coded(column: Sequence[Any] | None, codes: Mapping[str, int], count: int, rule: str) -> Tensor | None:
    """The code of each entry; None without the column."""
    if column is None:
        return None
    words = ["" if each is None else str(each).strip().lower() for each in column]
    for word in words:
        if word not in codes:
            raise UsageError(f"{rule}, not '{shown(word)}'")
    return torch.tensor([codes[word] for word in words], dtype=torch.int64)


def _require_consistent(pairs: Pairs, train: Source, where: str) -> None:
    ends, order = pairs.ends.sort(dim=1).values.unique(dim=0, return_inverse=True)
    both = torch.ones(len(ends), dtype=torch.bool)
    for answer in (0, 1):
        given = torch.zeros(len(ends), dtype=torch.bool)
        given[order[pairs.same == answer]] = True
        both &= given
    if both.any():
        one, other = (shown(train.name(i)) for i in ends[both][0].tolist())
        raise UsageError(f"{where} says both yes and no of '{one}' and '{other}'; remove one of the two")
