"""What each objective is worth where nothing is learned: the marks a training run is read against.

A run whose loss stays at such a value has collapsed, or its predictor has learned to predict nothing.
"""

import math


def nt_xent(samples: int) -> float:
    """All 2 * `samples` embeddings of the global batch are equal: log(2N - 1).

    >>> round(nt_xent(256), 4)
    6.2364
    """
    return math.log(2 * samples - 1)


def barlow_twins(dimensions: int) -> float:
    """All embeddings are equal, so that nothing correlates: D."""
    return float(dimensions)


def barlow_twins_least(samples: int, dimensions: int, lambda_: float = 0.0051) -> float:
    """The least value for N samples: D c / (1 + c) with c = lambda_ (D / (N - 1) - 1).

    A correlation matrix of rank N - 1 with trace t has a squared norm of at least t^2 / (N - 1); the value is
    that bound's minimum over t. It is 0 while N - 1 >= D.

    >>> round(barlow_twins_least(2048, 8192), 2)
    123.53
    """
    excess = lambda_ * max(0.0, dimensions / (samples - 1) - 1)
    return dimensions * excess / (1 + excess)


def dino(prototypes: int) -> float:
    """All logits are equal: log K. (The other collapse, onto one prototype, has the value 0.)

    >>> round(dino(65536), 4)
    11.0904
    """
    return math.log(prototypes)


def masked_reconstruction(values: int) -> float:
    """Zeros are predicted for normalised patches of P `values`: (P - 1) / P."""
    return (values - 1) / values


def latent_prediction() -> float:
    """Zeros are predicted for targets that are normally distributed: the mean Huber loss of a unit normal.

    >>> round(latent_prediction(), 5)
    0.42466
    """
    tail = math.erfc(math.sqrt(0.5))
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    within = (1 - tail) / 2 - density
    return within + 2 * density - tail / 2
