"""Pairs of rows that are nearly alike, and the groups they form."""

from typing import NamedTuple

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from selfsup.curation.draws import Draw, choose, draws
from selfsup.curation.kmeans import groups, lloyd
from selfsup.curation.share import each, filled
from selfsup.curation.tiles import Found, above_threshold, most_similar
from selfsup.evaluation.classifiers.neighbours import neighbours, unit
from selfsup.evaluation.classifiers.topk import GROUP, Rounded
from selfsup.precision import multiplies_bf16

ROWS, KEYS = 1024, 16384  # of a block of similarities
EXACT = 2**17  # rows up to which all pairs are compared
CELL = 1000  # rows of a cell of more
SAMPLE = 64  # rows of each that cells are fitted to
QUERIES = 1000  # rows whose pairs are all looked for, to say what share of them was found


class Pairs(NamedTuple):
    """Pairs of rows whose similarity is above a threshold.

    Attributes:
        first, second: int64 ``(P,)``, first < second, sorted by both.
        similarity: cosines, float32 ``(P,)``.
        capped: rows that have more later partners than are kept.
        recall: share of the pairs that are found, of rows that are not capped; measured on a sample unless
            all rows were compared, and None if the sample has no pairs.
    """

    first: Tensor
    second: Tensor
    similarity: Tensor
    capped: int
    recall: float | None = 1.0


@torch.no_grad()
def near_pairs(x: Tensor, threshold: float, most: int = 64, probes: int = 8) -> Pairs:
    """The pairs of rows of ``x`` ``(N, D)`` whose cosine is above ``threshold``.

    Of up to 2**17 rows all pairs are compared, in float32, in blocks; products in bf16 find the candidates
    where the CPU multiplies those faster. Of more, each row is compared with those of the ``probes`` cells
    nearest to it, of a thousand rows each, and the share of the pairs that this finds is measured on 1,000
    rows. Beyond ``x`` and the result memory holds a block of 2**24 similarities and at most ``most`` pairs
    for each row and probe.

    Args:
        most: pairs that a row keeps with later rows, the most similar ones: all pairs among thousands of
            equal rows would not fit in memory. Each of them still has a pair, so the group stays whole.
        probes: cells that a row is compared with, of more than 2**17 rows.

    Raises:
        NoScore: features are not finite.

    Example:
        >>> near_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), 0.9)[:2]
        (tensor([0]), tensor([2]))
    """
    return _all(x, threshold, most) if len(x) <= EXACT else _in_cells(x, threshold, most, probes, draws(0))


def _all(x: Tensor, threshold: float, most: int) -> Pairs:
    buffer = torch.empty(min(ROWS, len(x)) * (min(KEYS, len(x)) + GROUP))

    def of_keys(start: int) -> list[Tensor]:
        """Rows up to the last of some keys, against those."""
        keys = unit(x[start : start + KEYS].float())
        keys16 = Rounded.of(keys) if multiplies_bf16() else None
        tiles = []
        for first in range(0, start + len(keys), ROWS):
            rows = unit(x[first : first + ROWS].float())
            # Row i and column j are rows first + i and start + j of x; the second has to be the later.
            row, column, value = above_threshold(
                rows, keys, keys16, threshold, most + 1, first - start, buffer
            )
            tiles.append((row + first, column + start, value))
        return [torch.cat(parts) for parts in zip(*tiles, strict=True)]

    whole = torch.zeros(0, dtype=torch.int64)
    found: Found = (whole, whole, torch.zeros(0))
    capped = torch.zeros(len(x), dtype=torch.bool)
    for new in each(range(0, len(x), KEYS), of_keys):
        both = [torch.cat(parts) for parts in zip(found, new, strict=True)]
        found, over = most_similar((both[0], both[1], both[2]), most)
        capped[over] = True
    return Pairs(*found, int(capped.sum()))


def _in_cells(x: Tensor, threshold: float, most: int, probes: int, draw: Draw) -> Pairs:
    """As an inverted file does: a row's home is the nearest cell; it visits the cells that come next."""
    count = max(probes, len(x) // CELL)
    sample = choose(draw, min(len(x), SAMPLE * count), len(x)).sort().values
    rows = unit(x[sample].float())
    cells = unit(lloyd(rows, rows[choose(draw, count, len(rows))], iterations=10).centroids)
    near = torch.empty(len(x), probes, dtype=torch.int64)
    blocks = [slice(start, start + EXACT) for start in range(0, len(x), EXACT)]
    filled(near, blocks, lambda block: neighbours(cells, x[block], probes)[1])
    homes, visits = near[:, 0], groups(near[:, 1:].flatten(), count)
    buffer, rough = torch.empty(ROWS * (KEYS + GROUP)), multiplies_bf16()

    def of_cell(cell: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Pairs of the rows at home in a cell with each other and with its visitors, and who has more."""
        at_home, visitors = cell[0], cell[1] // max(1, probes - 1)
        found: list[Found] = []
        more = []
        for start in range(0, len(at_home), KEYS):
            part = at_home[start : start + KEYS]
            keys = unit(x[part].float())
            keys16 = Rounded.of(keys) if rough else None
            for those, later in ((at_home[: start + len(part)], True), (visitors, False)):
                for first in range(0, len(those), ROWS):
                    here = those[first : first + ROWS]
                    skip = first - start if later else -len(part) - ROWS
                    queries = unit(x[here].float())
                    tile = above_threshold(queries, keys, keys16, threshold, most + 1, skip, buffer)
                    (row, column, value), over = most_similar(tile, most)
                    more.append(here[over])
                    found.append((here[row], part[column], value))
        return [torch.cat(parts) for parts in zip(*found, strict=True)] + [torch.cat(more)] if found else []

    of_cells = [parts for parts in each(zip(groups(homes, count), visits, strict=True), of_cell) if parts]
    row, column, value, more = (torch.cat(parts) for parts in zip(*of_cells, strict=True))
    capped = torch.zeros(len(x), dtype=torch.bool)
    capped[more] = True
    # Two rows that visit each other's cell are found twice.
    codes = torch.minimum(row, column) * len(x) + torch.maximum(row, column)
    code, place = codes.unique(return_inverse=True)
    similarity = torch.zeros(len(code)).scatter_(0, place, value)
    kept, over = most_similar((code // len(x), code % len(x), similarity), most)
    capped[over] = True
    recall = _recall(x, kept, threshold, capped, draw)
    return Pairs(*kept, int(capped.sum()), recall)


def _recall(x: Tensor, kept: Found, threshold: float, capped: Tensor, draw: Draw) -> float | None:
    """The share of the pairs of some rows that are among those kept."""
    chosen = choose(draw, min(QUERIES, len(x)), len(x)).sort().values
    chosen = chosen[~capped[chosen]]
    if not len(chosen):
        return None
    rows = unit(x[chosen].float())
    buffer = torch.empty(len(rows) * (KEYS + GROUP))
    true = []
    for start in range(0, len(x), KEYS):
        keys = unit(x[start : start + KEYS].float())
        row, column, _ = above_threshold(rows, keys, None, threshold, len(keys), -len(rows) - KEYS, buffer)
        first, second = chosen[row], column + start
        other = first != second
        true.append(torch.minimum(first, second)[other] * len(x) + torch.maximum(first, second)[other])
    pairs = torch.cat(true).unique()
    # A partner that is capped may have had no room for the pair.
    pairs = pairs[~(capped[pairs // len(x)] | capped[pairs % len(x)])]
    if not len(pairs):
        return None
    return float(torch.isin(pairs, kept[0] * len(x) + kept[1]).double().mean())


class Groups(NamedTuple):
    """Components of more than one row.

    Attributes:
        lowest: each one's lowest member, int64 ``(G,)``, ascending.
        size: its members, int64 ``(G,)``.
        smallest: the smallest similarity between two of its members, float32 ``(G,)``.
    """

    lowest: Tensor
    size: Tensor
    smallest: Tensor


@torch.no_grad()
def chained(x: Tensor, roots: Tensor) -> Groups:
    """Whether components hold rows that are unlike: a chain of near pairs leads from one thing to another.

    Args:
        x: features ``(N, D)``.
        roots: of :func:`components`.

    >>> chained(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 0])).smallest.round()
    tensor([0.])
    """
    lowest, place, size = roots.unique(return_inverse=True, return_counts=True)
    several = (size > 1).nonzero()[:, 0]
    members = groups(place, len(lowest))
    smallest = []
    for number in several.tolist():
        rows = unit(x[members[number]].float())
        smallest.append(min(float((block @ rows.t()).amin()) for block in rows.split(ROWS)))
    return Groups(lowest[several], size[several], torch.tensor(smallest))


def components(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Connected components of 0..count-1 joined by pairs ``(P,)``.

    Returns:
        int64 ``(count,)``: the lowest member's number of each one's component.

    >>> components(torch.tensor([1, 3]), torch.tensor([3, 4]), 5)
    tensor([0, 1, 2, 1, 1])
    """
    joined = coo_array((torch.ones(len(first)).numpy(), (first.numpy(), second.numpy())), (count, count))
    labels = torch.from_numpy(connected_components(joined, directed=False)[1]).long()
    return torch.full((count,), count).scatter_reduce(0, labels, torch.arange(count), "amin")[labels]
