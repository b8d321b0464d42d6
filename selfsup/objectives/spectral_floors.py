"""Reference losses of objectives of all views together; all are in :mod:`selfsup.objectives.floors`."""

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


def mmcr(views: int, samples: int, lambda_: float = 0.0) -> float:
    """All embeddings are equal: lambda_ sqrt(V) - sqrt(N).

    >>> mmcr(2, 256)
    -16.0
    """
    return lambda_ * math.sqrt(views) - math.sqrt(samples)


def mmcr_least(views: int, samples: int, dimensions: int, lambda_: float = 0.0) -> float:
    """Views agree, and all singular values of their means are equal: lambda_ sqrt(V) - sqrt(N min(N, D)).

    >>> round(mmcr_least(2, 256, 64), 1)
    -128.0
    """
    return lambda_ * math.sqrt(views) - math.sqrt(samples * min(samples, dimensions))


def spectral_contrastive(views: int, positives: float = 1.0) -> float:
    """All embeddings are 0: the rows of all views that belong with one, itself among them.

    Args:
        positives: samples that belong with a sample, itself among them, on average.

    >>> spectral_contrastive(2)
    2.0
    """
    return views * positives


def triplet(margin: float = 0.5) -> float:
    """All embeddings are equal: the margin.

    >>> triplet()
    0.5
    """
    return margin
