"""Count, sum and second moment of features: all that a spectrum needs, and they add up exactly."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from selfsup.evaluation.errors import NoScore

ROWS, COLUMNS, SOME = 4096, 256, 1024
# Below this share of the total spread, an eigenvalue from float32 products is mostly rounding.
FLOAT32_RANGE = 1e-6


@dataclass(frozen=True)
class Moments:
    """Sums over samples z ``(D,)``, of one batch or of many, of one process or of many.

    They are float64, and moments of disjoint samples add up: ``a + b`` are those of both together. Memory
    is D², whatever the number of samples.

    Attributes:
        count: N, a scalar.
        total: ``sum z``, ``(D,)``.
        gram: ``sum z z^T``, ``(D, D)``, symmetric.
    """

    count: Tensor
    total: Tensor
    gram: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.gram + other.gram)

    @property
    def mean(self) -> Tensor:
        """Mean sample ``(D,)``."""
        return self.total / self.count

    @property
    def scatter(self) -> Tensor:
        """``sum (z - mean)(z - mean)^T``, ``(D, D)``: N times the covariance.

        The difference of two float64 sums: spreads below 1e-7 of the mean's length are lost in rounding.
        """
        return self.gram - torch.outer(self.total, self.mean)

    def over_processes(self) -> "Moments":
        """The sum over all processes of torch.distributed, the same on each; in one process these moments."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return self
        width = len(self.total)
        packed = torch.cat([self.count.reshape(1), self.total, self.gram.flatten()])
        dist.all_reduce(packed)
        return Moments(packed[0], packed[1 : width + 1], packed[width + 1 :].view(width, width))


@torch.no_grad()
def moments(features: Tensor, exact: bool = True) -> Moments:
    """Moments of ``features`` ``(N, D)``, of any real type; N may be 0.

    Args:
        features: converted to float32, or float64 if they are that or whole numbers.
        exact: multiply in float64. Otherwise in float32, about the mean and in blocks that are summed in
            float64, which is twice as fast and loses the eigenvalues below 1e-7 of the largest; where these
            matter (:func:`batch_moments` checks), use ``exact``.

    Raises:
        NoScore: features that are not finite.
        ValueError: features that are not a real matrix.

    Example:
        >>> whole = moments(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        >>> parts = moments(torch.tensor([[1.0, 2.0]])) + moments(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
        >>> torch.equal(whole.gram, parts.gram), whole.mean
        (True, tensor([3., 4.], dtype=torch.float64))
    """
    features = real_matrix(features)
    width, device = features.shape[1], double_device(features)
    total = torch.zeros(width, dtype=torch.float64, device=device)
    gram = torch.zeros(width, width, dtype=torch.float64, device=device)
    product = torch.float64 if exact else features.dtype
    # Any shift near the mean works: products of the small remainders round little.
    some = features[:: max(1, len(features) // SOME)].to(device, torch.float64)
    near = (some.sum(dim=0) / max(len(some), 1)).to(features.dtype).to(product)
    for block in features.split(ROWS):
        rows = block.to(device, product) - near
        total += rows.sum(dim=0)
        add_products(gram, rows)
    if not total.isfinite().all():
        raise NoScore("the features are not finite")
    gram = symmetric(gram)
    count = torch.tensor(float(len(features)), dtype=torch.float64, device=device)
    return _shifted(Moments(count, total, gram), near.double())


def add_products(gram: Tensor, rows: Tensor) -> None:
    """Add ``rows^T rows`` to ``gram`` ``(D, D)``, whose lower triangle is enough: see :func:`symmetric`."""
    for start in range(0, len(gram), COLUMNS):
        end = start + COLUMNS
        gram[start:, start:end] += rows[:, start:].t() @ rows[:, start:end]


def symmetric(lower: Tensor) -> Tensor:
    """The symmetric matrix of a lower triangle."""
    return lower.tril() + lower.tril(-1).t()


def batch_moments(features: Tensor) -> Moments:
    """Moments of all features at once, multiplied in float32 where that is precise enough.

    A Cholesky factorisation checks this in a fraction of the time of the eigenvalues: the scatter must stay
    positive when a millionth of its norm is subtracted from the diagonal.
    """
    if not features.is_floating_point() or features.dtype == torch.float64:
        return moments(features)
    if len(features) >= max(2 * ROWS, 2 * features.shape[1]):
        # The first block already shows collapsed features.
        found = moments(features[:ROWS], exact=False)
        if 2 * features.shape[1] > ROWS or _well_conditioned(found.scatter):
            found += moments(features[ROWS:], exact=False)
            if _well_conditioned(found.scatter):
                return found
    return moments(features)


def _well_conditioned(scatter: Tensor) -> bool:
    shifted = scatter.clone()
    shifted.diagonal().sub_(FLOAT32_RANGE * torch.linalg.matrix_norm(scatter))
    return int(torch.linalg.cholesky_ex(shifted).info) == 0


def _shifted(about: Moments, shift: Tensor) -> Moments:
    """Moments of z from those of z - shift."""
    cross = torch.outer(about.total, shift)
    gram = about.gram + (cross + cross.t()) + about.count * torch.outer(shift, shift)
    return Moments(about.count, about.total + about.count * shift, gram)


def real_matrix(features: Tensor) -> Tensor:
    """Features as a float32 or float64 matrix: half precision becomes float32, whole numbers float64.

    Raises:
        ValueError: features that are complex or do not have two dimensions.
    """
    if features.ndim != 2 or features.is_complex() or features.shape[1] == 0:
        raise ValueError(
            f"features must be a real matrix (N, D), not {features.dtype} {tuple(features.shape)}"
        )
    if not features.is_floating_point():
        return features.double()
    return features if features.dtype == torch.float64 else features.float()


def double_device(features: Tensor) -> torch.device:
    """The device for float64: the features' own, or the CPU for devices without float64."""
    return torch.device("cpu") if features.device.type == "mps" else features.device
