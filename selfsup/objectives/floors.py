"""Reference losses: the value of ``objective`` where nothing is learned, and its bound, ``objective_least``.

A run whose loss stays at the former has collapsed.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from selfsup.objectives.contrastive_floors import dcl as dcl
from selfsup.objectives.contrastive_floors import matched_cells as matched_cells
from selfsup.objectives.contrastive_floors import moco as moco
from selfsup.objectives.contrastive_floors import moco_v3 as moco_v3
from selfsup.objectives.contrastive_floors import nnclr as nnclr
from selfsup.objectives.contrastive_floors import nt_xent as nt_xent
from selfsup.objectives.label_floors import cross_entropy as cross_entropy
from selfsup.objectives.label_floors import cross_entropy_least as cross_entropy_least
from selfsup.objectives.label_floors import sup_con as sup_con
from selfsup.objectives.spectral_floors import frossl as frossl
from selfsup.objectives.spectral_floors import frossl_least as frossl_least
from selfsup.objectives.spectral_floors import mmcr as mmcr
from selfsup.objectives.spectral_floors import mmcr_least as mmcr_least
from selfsup.objectives.spectral_floors import spectral_contrastive as spectral_contrastive
from selfsup.objectives.spectral_floors import triplet as triplet


def marks(objective: str, known: Mapping[str, Any]) -> dict[str, float]:
    """``trivial`` and ``floor`` of an objective, as far as they are here.

    Args:
        objective: its name.
        known: ``samples``, ``dimensions`` and the objective's own settings.

    >>> marks("vicreg", {"samples": 256, "dimensions": 64, "variance": 1.0})
    {'trivial': 0.99}
    """
    found = {}
    for mark, name in (("trivial", objective), ("floor", f"{objective}_least")):
        if (function := globals().get(name)) is not None:
            found[mark] = function(
                **{key: known[key] for key in inspect.signature(function).parameters if key in known}
            )
    return found


def ressl(queue: int) -> float:
    """All embeddings are equal, those of the queue too: log K."""
    return math.log(queue)


def distill_layer_least() -> float:
    """Predictions that equal their targets: log(1 + 1/e)."""
    return math.log1p(math.exp(-1))


def barlow_twins(dimensions: int) -> float:
    """All embeddings are equal, so that nothing correlates: D."""
    return float(dimensions)


def barlow_twins_least(samples: int, dimensions: int, lambda_: float = 0.0051) -> float:
    """The least value for N samples: D c / (1 + c) with c = lambda_ (D / (N - 1) - 1).

    A correlation matrix of rank N - 1 with trace t has a squared norm of at least t^2 / (N - 1); the value is
    that bound's minimum over t. It is 0 while N - 1 >= D, and D for a single sample, which correlates with
    nothing.

    >>> round(barlow_twins_least(2048, 8192), 2)
    123.53
    """
    if samples < 2:
        return barlow_twins(dimensions)
    excess = lambda_ * max(0.0, dimensions / (samples - 1) - 1)
    return dimensions * excess / (1 + excess)


def mixed_barlow() -> float:
    """All embeddings are equal: 0, which is also the least, so that it does not show a collapse.

    >>> mixed_barlow()
    0.0
    """
    return 0.0


def dino(prototypes: int) -> float:
    """All logits are equal: log K. (The other collapse, onto one prototype, has the value 0.)

    >>> round(dino(65536), 4)
    11.0904
    """
    return math.log(prototypes)


def masked_reconstruction(values: int) -> float:
    """Zeros are predicted for normalised patches of P `values`: (P - 1) / P."""
    return (values - 1) / values


def ibot(prototypes: int) -> float:
    """All logits are equal: log K."""
    return dino(prototypes)


def capi(prototypes: int) -> float:
    """All logits are equal: log K."""
    return dino(prototypes)


def data2vec(width: int) -> float:
    """Zeros are predicted for layer-normed targets of D values: sqrt(D).

    >>> data2vec(64)
    8.0
    """
    return math.sqrt(width)


def latent_prediction() -> float:
    """Zeros are predicted for targets that are normally distributed: the mean Huber loss of a unit normal.

    >>> round(latent_prediction(), 5)
    0.42466
    """
    tail = math.erfc(math.sqrt(0.5))
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    within = (1 - tail) / 2 - density
    return within + 2 * density - tail / 2


def vicreg(variance: float = 25.0) -> float:
    """All embeddings are equal, so that every standard deviation is sqrt(1e-4): variance * .99.

    >>> vicreg()
    24.75
    """
    return variance * (1 - math.sqrt(1e-4))


def tico(rho: float = 8.0) -> float:
    """All embeddings are equal, those of earlier batches too: rho."""
    return rho


def tico_least(samples: int, dimensions: int, rho: float = 8.0, beta: float = 0.9) -> float:
    """Views agree, and the batch's second moment is spread where earlier ones were not.

    That is rho (1 - beta) / min(N, D). In the long run earlier batches are spread as this one is, and the
    least is rho / D.

    >>> round(tico_least(256, 256), 6)
    0.003125
    """
    return rho * (1 - beta) / min(samples, dimensions)


def byol() -> float:
    """All embeddings are equal: 0, which is also the least, so that the loss does not show a collapse.

    >>> byol()
    0.0
    """
    return 0.0


def simsiam() -> float:
    """All embeddings are equal: -1, which is also the least, so that the loss does not show a collapse.

    >>> simsiam()
    -1.0
    """
    return -1.0


def koleo(dimensions: int) -> float:
    """All embeddings are equal: -log(1e-8 (sqrt(D) + 1)).

    >>> round(koleo(1024), 3)
    14.924
    """
    return -math.log(1e-8 * (math.sqrt(dimensions) + 1))


def koleo_least() -> float:
    """Each embedding is opposite to its nearest, as only two can be: -log 2."""
    return -math.log(2)


def sigreg(knots: int = 17, t_max: float = 3.0) -> float:
    """Any number of samples drawn from a Gaussian, on average: sum_k q_k g_k (1 - g_k^2), g = exp(-t^2 / 2).

    A batch that is more regular than random draws has less.

    >>> round(sigreg(), 3)
    1.052
    """
    return sum(weight * gaussian * (1 - gaussian**2) for weight, gaussian in _trapezoids(knots, t_max))


def sigreg_collapsed(samples: int, knots: int = 17, t_max: float = 3.0) -> float:
    """All N embeddings are 0: N sum_k q_k g_k (1 - g_k)^2.

    >>> round(sigreg_collapsed(256), 1)
    102.9
    """
    return samples * sum(
        weight * gaussian * (1 - gaussian) ** 2 for weight, gaussian in _trapezoids(knots, t_max)
    )


def relational(gamma: float = 2.0, alpha: float = 0.5) -> float:
    """All scores are 0: alpha 2^-gamma log 2.

    >>> round(relational(), 4)
    0.0866
    """
    return alpha * 2**-gamma * math.log(2)


def msn(prototypes: int) -> float:
    """All embeddings are equal, or all of one prototype at a regularization of 1: log K.

    >>> round(msn(1024), 4)
    6.9315
    """
    return dino(prototypes)


def diet(samples: int) -> float:
    """All logits of S samples are equal: log S.

    >>> round(diet(50_000), 2)
    10.82
    """
    return cross_entropy(samples)


def diet_least(samples: int, smoothing: float = 0.8) -> float:
    """The entropy of a smoothed label, which is reached where it is predicted.

    >>> round(diet_least(50_000), 3)
    9.156
    """
    return cross_entropy_least(samples, smoothing)


def lejepa(samples: int, lambda_: float = 0.05, knots: int = 17, t_max: float = 3.0) -> float:
    """All N embeddings are 0: lambda_ * `sigreg_collapsed`.

    >>> round(lejepa(256), 3)
    5.146
    """
    return lambda_ * sigreg_collapsed(samples, knots, t_max)


def _trapezoids(knots: int, t_max: float) -> list[tuple[float, float]]:
    """Weights of the trapezoidal rule on [-t_max, t_max], folded, and exp(-t^2 / 2) at its knots."""
    step = t_max / (knots - 1)
    ends = (0, knots - 1)
    return [(step * (1 if k in ends else 2), math.exp(-((k * step) ** 2) / 2)) for k in range(knots)]
