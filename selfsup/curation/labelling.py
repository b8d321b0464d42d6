"""Which images to label first: typical ones, ones that cover the rest, uncertain ones once there are labels.

Each function takes features ``(N, D)`` and returns ``count`` positions in the order of their choice. Rows
that have labels already are not chosen again, and steer the choice.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

NEIGHBOURS, SMALLEST = 20, 5  # of TypiClust: neighbours whose distance counts, and clusters that do not
PURE = 0.95  # share of balls that hold a single cluster, by which ProbCover's radius is chosen
CELLS = 2**24  # distances that are in memory at once


def typical(x: Tensor, count: int, assigned: Tensor, labelled: Tensor | None = None) -> Tensor:
    """The most typical rows of one cluster after another: TypiClust (Hacohen et al. 2022, arXiv:2202.02794).

    Clusters take turns, those with fewest labels first and then the largest. The typicality of a row is
    ``1 / (mean squared distance to the min(20, n // 2) nearest of the n rows left in its cluster + 1e-5)``;
    the paper's text has the distance unsquared, its code the square. Clusters of 5 rows or fewer only take
    part where there are no others.

    Args:
        x: unit features ``(N, D)``.
        count: at most the rows without labels.
        assigned: int64 ``(N,)``, the cluster of each row.
        labelled: int64 positions of the rows with labels.

    Example:
        >>> x = torch.tensor([[0.0], [0.1], [0.2], [0.9], [5.0], [5.1], [5.3]])
        >>> typical(x, 2, torch.tensor([0, 0, 0, 0, 1, 1, 1])).tolist()
        [1, 4]
    """
    taken = _mask(x, labelled)
    _require(count, taken)
    sizes = assigned.bincount()
    own = assigned[taken].bincount(minlength=len(sizes))
    large = sizes > SMALLEST if (sizes > SMALLEST).any() else sizes > 0
    order = sorted(large.nonzero().flatten().tolist(), key=lambda c: (int(own[c]), -int(sizes[c])))
    small = sorted((~large & (sizes > 0)).nonzero().flatten().tolist(), key=lambda c: -int(sizes[c]))
    chosen: list[int] = []
    while len(chosen) < count:
        before = len(chosen)
        for cluster in order:
            rows = ((assigned == cluster) & ~taken).nonzero().flatten()
            if len(rows) and len(chosen) < count:
                chosen.append(int(rows[_typicality(x[rows]).argmax()]))
                taken[chosen[-1]] = True
        if len(chosen) == before:  # only small clusters have rows left
            order, small = small, []
    return torch.tensor(chosen, dtype=torch.int64)


def _typicality(x: Tensor) -> Tensor:
    """``(n,)`` of the rows of a cluster; equal for one row alone."""
    k = min(NEIGHBOURS, len(x) // 2)
    if k == 0:
        return x.new_ones(len(x))
    near = torch.cat([_apart(block, x).topk(k + 1, largest=False).values for block in _blocks(x, x)])
    return 1 / (near[:, 1:].square().mean(dim=1) + 1e-5)  # the nearest is the row itself


def covering(x: Tensor, count: int, radius: float, labelled: Tensor | None = None) -> Tensor:
    """The rows whose balls cover most rows not yet covered: ProbCover (Yehuda et al. 2022, 2205.11320).

    The ball of row i holds the rows j with ``|x_i - x_j| < radius``, itself among them. Once all is covered,
    the rest is taken farthest first (:func:`k_centre`).

    Args:
        x: unit features ``(N, D)``.
        count: at most the rows without labels.
        radius: of the balls; :func:`pure_radius` chooses one.
        labelled: int64 positions of the rows with labels, whose balls are covered.

    Example:
        >>> covering(torch.tensor([[0.0], [0.4], [0.8], [5.0]]), 2, 0.5).tolist()
        [1, 3]
    """
    taken = _mask(x, labelled)
    _require(count, taken)
    covered = covered_by(x, taken.nonzero().flatten(), radius)
    gain = torch.zeros(len(x), dtype=torch.int64)
    for block in _blocks(x[~covered], x):
        gain += (_apart(block, x) < radius).sum(dim=0)
    chosen: list[int] = []
    while len(chosen) < count and int((best := gain.masked_fill(taken, 0)).max()):
        chosen.append(int(best.argmax()))
        taken[chosen[-1]] = True
        new = covered_by(x, torch.tensor(chosen[-1:]), radius) & ~covered
        covered |= new
        for block in _blocks(x[new], x):
            gain -= (_apart(block, x) < radius).sum(dim=0)
    found = torch.tensor(chosen, dtype=torch.int64)
    if len(chosen) == count:
        return found
    return torch.cat([found, k_centre(x, count - len(chosen), labelled=taken.nonzero().flatten())[0]])


def covered_by(x: Tensor, rows: Tensor, radius: float) -> Tensor:
    """Mask ``(N,)`` of the rows of ``x`` that lie in a ball around one of ``rows`` (int64 positions)."""
    covered = torch.zeros(len(x), dtype=torch.bool)
    for block in _blocks(x[rows], x):
        covered |= (_apart(block, x) < radius).any(dim=0)
    return covered


def pure_radius(x: Tensor, assigned: Tensor, least: float = PURE) -> float:
    """The largest radius whose balls are pure for a share ``least`` of the rows: ProbCover's rule.

    A ball is pure if all its rows are of one cluster, that is, if no row of another lies within the radius.

    Args:
        x: unit features ``(N, D)``.
        assigned: int64 ``(N,)``, of k-means with as many clusters as there are classes, two or more.

    Example:
        >>> pure_radius(torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0, 0, 1]), least=0.5)
        3.0
    """
    other = []
    for rows in torch.arange(len(x)).split(max(1, CELLS // len(x))):
        apart = _apart(x[rows], x)
        other.append(apart.masked_fill(assigned[rows, None] == assigned, torch.inf).amin(dim=1))
    impure = int(len(x) * (1 - least) + 1e-9)  # so many balls may reach another cluster
    return float(torch.cat(other).sort().values[impure])


def k_centre(
    x: Tensor, count: int, first: int | None = None, labelled: Tensor | None = None
) -> tuple[Tensor, float]:
    """The row farthest from those chosen, again and again, and the largest distance left.

    At most twice the smallest covering radius (Gonzalez 1985); core-sets (Sener and Savarese 2018,
    arXiv:1708.00489). It takes outliers early.

    Args:
        x: features ``(N, D)``.
        count: at most the rows without labels.
        first: the row to begin with, where nothing is labelled; None: the one nearest the mean.
        labelled: int64 positions of the rows with labels.

    Example:
        >>> k_centre(torch.tensor([[0.0], [1.0], [5.0], [9.0]]), 2, first=0)[0].tolist()
        [0, 3]
    """
    taken = _mask(x, labelled)
    _require(count, taken)
    away = torch.full((len(x),), torch.inf, dtype=x.dtype)
    chosen: list[int] = []
    if not taken.any():
        nearest = int((x - x.mean(dim=0)).norm(dim=1).argmin())
        chosen = [nearest if first is None else first][:count]
        taken[chosen] = True
    for block in _blocks(x[taken], x):
        away = torch.minimum(away, _apart(block, x).amin(dim=0))
    while len(chosen) < count:
        chosen.append(int(away.masked_fill(taken, -1).argmax()))
        taken[chosen[-1]] = True
        away = torch.minimum(away, _apart(x[chosen[-1:]], x)[0])
    return torch.tensor(chosen, dtype=torch.int64), float(away.max())


def margins(scores: Tensor) -> Tensor:
    """By how much the best class leads the second, of scores ``(N, C)``: ``(N,)``, small where uncertain.

    >>> margins(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]])).tolist()
    [0.25, 0.0]
    """
    two = scores.topk(2, dim=1).values
    return two[:, 0] - two[:, 1]


def uncertain(margin: Tensor, count: int, assigned: Tensor, labelled: Tensor) -> Tensor:
    """The row of smallest margin of one cluster after another, the most uncertain clusters first.

    Plain smallest margins are many times the same doubt; a row a cluster asks each doubt once
    (ClusterMargin, Citovsky et al. 2021, arXiv:2107.14263, is built so).

    Args:
        margin: ``(N,)`` (:func:`margins`).
        count: at most the rows without labels.
        assigned: int64 ``(N,)``, the cluster of each row.
        labelled: int64 positions of the rows with labels.

    Example:
        >>> margin, assigned = torch.tensor([0.3, 0.1, 0.2, 0.5]), torch.tensor([0, 0, 0, 1])
        >>> uncertain(margin, 2, assigned, torch.tensor([0])).tolist()
        [1, 3]
    """
    taken = _mask(margin, labelled)
    _require(count, taken)
    order = margin.argsort(stable=True)
    order = order[~taken[order]]
    # The rank of a row in its cluster: first ranks of all clusters come before second ones.
    by_cluster = order[assigned[order].argsort(stable=True)]
    sizes = assigned[order].bincount(minlength=int(assigned.max()) + 1)
    rank = torch.empty_like(assigned)
    rank[by_cluster] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[assigned[by_cluster]]
    return order[rank[order].argsort(stable=True)][:count]


def _mask(x: Tensor, rows: Tensor | None) -> Tensor:
    mask = torch.zeros(len(x), dtype=torch.bool)
    if rows is not None:
        mask[rows] = True
    return mask


def _require(count: int, taken: Tensor) -> None:
    left = int((~taken).sum())
    if not 1 <= count <= left:
        raise ValueError(f"{count} of {left} rows without labels cannot be chosen")


def _apart(rows: Tensor, x: Tensor) -> Tensor:
    """Euclidean distances ``(n, N)``."""
    return torch.cdist(rows, x)


def _blocks(rows: Tensor, x: Tensor) -> Iterator[Tensor]:
    """``rows`` in blocks whose distances to ``x`` fit in memory."""
    return iter(rows.split(max(1, CELLS // max(1, len(x))))) if len(rows) else iter(())
