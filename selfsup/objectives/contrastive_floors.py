"""Reference losses of contrastive objectives; all are in :mod:`selfsup.objectives.floors`."""

import math


def nt_xent(samples: int) -> float:
    """All 2 * `samples` embeddings of the global batch are equal: log(2N - 1).

    >>> round(nt_xent(256), 4)
    6.2364
    """
    return math.log(2 * samples - 1)


def matched_cells(samples: int, cells: int) -> float:
    """All `cells` of all `samples` images of the global batch are equal: log(1 + (N - 1) K).

    >>> round(matched_cells(64, 16), 4)
    6.9167
    """
    return math.log(1 + (samples - 1) * cells)


def dcl(samples: int) -> float:
    """All 2 * `samples` embeddings of the global batch are equal: log(2N - 2).

    >>> round(dcl(256), 4)
    6.2344
    """
    return math.log(2 * samples - 2)


def moco(queue: int) -> float:
    """All embeddings are equal, those of the queue too: log(K + 1).

    >>> round(moco(65536), 4)
    11.0904
    """
    return math.log(queue + 1)


def moco_v3(samples: int, temperature: float = 0.2) -> float:
    """All embeddings of the global batch of N samples are equal: 2 temperature log N, of one direction.

    >>> round(2 * moco_v3(4096), 3)
    6.654
    """
    return 2 * temperature * math.log(samples)


def nnclr(samples: int) -> float:
    """All predictions of the global batch are equal: log N.

    >>> round(nnclr(256), 4)
    5.5452
    """
    return math.log(samples)
