"""The label-free scores as torchmetrics: fed batch by batch, exact on any number of processes.

The spectral ones and LiDAR keep float64 moments, which processes add up; never scores, whose mean is not the
score of all. Uniformity and kNN compare every sample with every other and keep the features. CLID has no
class: its clusters and halves depend on the order of the samples, which processes do not keep.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from selfsup.evaluation.classifiers.neighbours import knn
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.moments import Moments, moments
from selfsup.evaluation.label_free.lidar import GroupMoments, group_moments, lidar
from selfsup.evaluation.label_free.spectra import (
    FIRST,
    LAST,
    alpha_req,
    nesum,
    participation_ratio,
    rankme,
    stable_rank,
)
from selfsup.evaluation.label_free.uniformity import alignment_sums, uniformity


class _OfMoments(Metric):
    """Accumulates :class:`Moments` of width D; a subclass computes a score from them."""

    is_differentiable = False
    full_state_update = False

    def __init__(self, width: int, **settings: Any) -> None:
        super().__init__(**settings)
        _sums(self, "", width)

    def update(self, features: Tensor) -> None:
        """Add features ``(N, D)``; any number of them, none included."""
        _add(self, "", moments(features))

    def moments(self) -> Moments:
        """Of everything seen so far."""
        return _read(self, "")


class RankMe(_OfMoments):
    """:func:`selfsup.evaluation.rankme` of all features seen, on all processes.

    Args:
        width: D.
        centre, eps: as there.

    Example:
        >>> metric = RankMe(width=8)
        >>> metric.update(torch.eye(8)[:5])
        >>> metric.update(torch.eye(8)[5:])
        >>> round(float(metric.compute()), 3)
        8.0
    """

    def __init__(self, width: int, centre: bool = False, eps: float = 1e-7, **settings: Any) -> None:
        super().__init__(width, **settings)
        self.centre, self.eps = centre, eps

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(rankme(self.moments(), self.centre, self.eps))


class AlphaReq(_OfMoments):
    """The exponent of :func:`selfsup.evaluation.alpha_req`; its R² is in ``alpha_req(metric.moments())``."""

    def __init__(self, width: int, first: int = FIRST, last: int = LAST, **settings: Any) -> None:
        super().__init__(width, **settings)
        self.first, self.last = first, last

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(alpha_req(self.moments(), self.first, self.last).alpha)


class NESum(_OfMoments):
    """:func:`selfsup.evaluation.nesum` of all features seen, on all processes."""

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(nesum(self.moments()))


class StableRank(_OfMoments):
    """:func:`selfsup.evaluation.stable_rank` of all features seen, on all processes."""

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(stable_rank(self.moments()))


class ParticipationRatio(_OfMoments):
    """:func:`selfsup.evaluation.participation_ratio` of all features seen, on all processes."""

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(participation_ratio(self.moments()))


class LiDAR(Metric):
    """:func:`selfsup.evaluation.lidar` of all features seen, on all processes.

    All views of an image have to be in one batch, so the numbers may start again in each.

    Args:
        width: D.
        delta: as there.

    Example:
        >>> axes = torch.eye(2)
        >>> images = torch.cat([4 * axes, -4 * axes]).repeat_interleave(4, dim=0)
        >>> views = images + torch.cat([axes, -axes]).repeat(4, 1)
        >>> metric = LiDAR(width=2)
        >>> for batch in views.split(8):  # two images with four views each
        ...     metric.update(batch, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
        >>> round(float(metric.compute()), 3)
        2.0
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, width: int, delta: float = 1e-4, **settings: Any) -> None:
        super().__init__(**settings)
        self.delta = delta
        _sums(self, "centre_", width)
        _sums(self, "deviation_", width)

    def update(self, features: Tensor, groups: Tensor) -> None:
        """Add features ``(N, D)``, with ``groups`` int64 ``(N,)``: which are views of one image."""
        found = group_moments(features, groups)
        _add(self, "centre_", found.centres)
        _add(self, "deviation_", found.deviations)

    def compute(self) -> Tensor:
        """The score, a scalar."""
        found = GroupMoments(_read(self, "centre_"), _read(self, "deviation_"))
        return torch.tensor(lidar(found, delta=self.delta))


class Alignment(Metric):
    """:func:`selfsup.evaluation.alignment` of all pairs seen, on all processes; views come as in LiDAR."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    pairs: Tensor

    def __init__(self, alpha: float = 2.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.alpha = alpha
        for name in ("total", "pairs"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor, groups: Tensor) -> None:
        """Add features ``(N, D)``, with ``groups`` int64 ``(N,)``, or pairs ``(P, 2)`` of their rows."""
        total, pairs = alignment_sums(features, groups, self.alpha)
        self.total += total.to(self.total.device)
        self.pairs += pairs

    def compute(self) -> Tensor:
        """The score, a scalar."""
        if not self.pairs:
            raise NoScore("no image has two views, and alignment is the distance of two")
        return self.total / self.pairs


class Uniformity(Metric):
    """:func:`selfsup.evaluation.uniformity` of all features seen, which it keeps, on all processes."""

    is_differentiable = False
    full_state_update = False
    features: list[Tensor]

    def __init__(self, t: float = 2.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.t = t
        self.add_state("features", [], dist_reduce_fx="cat")

    def update(self, features: Tensor) -> None:
        """Add features ``(N, D)``."""
        self.features.append(features)

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return torch.tensor(uniformity(_joined(self.features), self.t))


class KNN(Metric):
    """Accuracy of :func:`selfsup.evaluation.knn` on all queries seen, by the bank seen, on all processes.

    Args:
        k, temperature: as there.

    Example:
        >>> metric = KNN(k=1)
        >>> metric.update(torch.eye(2), torch.tensor([4, 7]), bank=True)
        >>> metric.update(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([4, 7]), bank=False)
        >>> float(metric.compute())
        0.5
    """

    is_differentiable = False
    full_state_update = False
    bank: list[Tensor]
    bank_labels: list[Tensor]
    queries: list[Tensor]
    query_labels: list[Tensor]

    def __init__(self, k: int = 20, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(**settings)
        self.k, self.temperature = k, temperature
        for name in ("bank", "bank_labels", "queries", "query_labels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor, bank: bool) -> None:
        """Add features ``(N, D)`` and int64 labels ``(N,)`` to the bank that votes, or to the queries."""
        (self.bank if bank else self.queries).append(features)
        (self.bank_labels if bank else self.query_labels).append(labels)

    def compute(self) -> Tensor:
        """The accuracy, a scalar from 0 to 1."""
        if not len(self.bank) or not len(self.queries):
            raise NoScore("kNN compares queries with a bank, and one of the two is empty")
        votes = knn(
            _joined(self.bank),
            _joined(self.bank_labels),
            _joined(self.queries),
            self.k,
            self.temperature,
        )
        return (votes.argmax(1) == _joined(self.query_labels)).double().mean()


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    """A list state; torchmetrics gives it as one tensor once it was gathered from other processes."""
    return torch.cat(parts) if isinstance(parts, list) else parts


def _sums(metric: Metric, prefix: str, width: int) -> None:
    """States for moments, which torchmetrics adds up over processes."""
    shapes: dict[str, tuple[int, ...]] = {"count": (), "total": (width,), "gram": (width, width)}
    for name, shape in shapes.items():
        metric.add_state(prefix + name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")


def _add(metric: Metric, prefix: str, more: Moments) -> None:
    for name in ("count", "total", "gram"):
        state = getattr(metric, prefix + name)
        setattr(metric, prefix + name, state + getattr(more, name).to(state.device))


def _read(metric: Metric, prefix: str) -> Moments:
    return Moments(*(getattr(metric, prefix + name) for name in ("count", "total", "gram")))
