"""Reference losses of :mod:`selfsup.objectives.spectral`; all are in :mod:`selfsup.objectives.floors`."""

import math


def frossl() -> float:
    """All embeddings are equal: 0.

    >>> frossl()
    0.0
    """
    return 0.0


def frossl_least(views: int, samples: int, dimensions: int) -> float:
    """Views agree, and no two dimensions correlate: -V log min(N, D).

    >>> round(frossl_least(2, 256, 1024), 4)
    -11.0904
    """
    return -views * math.log(min(samples, dimensions))
