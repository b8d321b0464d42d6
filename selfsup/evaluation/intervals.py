"""95 % confidence intervals of accuracies and of other shares."""

import math
from collections.abc import Sequence

NORMAL_QUANTILE = 1.959963984540054


def wilson(correct: int, total: int, z: float = NORMAL_QUANTILE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22:209).

    With ``p = correct / total``: ``(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)``. It covers
    the noise of a finite test set, not that of training.

    Args:
        correct: samples answered rightly.
        total: samples asked.
        z: normal quantile; the default gives 95 %.

    Example:
        >>> [round(end, 4) for end in wilson(90, 100)]
        [0.8256, 0.9448]
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} of {total} is not a proportion")
    p, spread = correct / total, z * z / total
    centre = p + spread / 2
    half = z * math.sqrt((p * (1 - p) + spread / 4) / total)
    # At the extremes one end is exactly 0 or 1, which rounding would miss.
    low = (centre - half) / (1 + spread) if correct else 0.0
    high = (centre + half) / (1 + spread) if correct < total else 1.0
    return low, high


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of independent ``values``.

    ``mean ± t(n - 1) s / sqrt(n)``. One value has no spread to judge by: its interval is
    everything, ``(-inf, inf)``.

    Example:
        >>> [round(end, 3) for end in student([0.5, 0.6, 0.7])]
        [0.352, 0.848]
    """
    from scipy.special import stdtrit

    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, (1 + level) / 2)) * deviation / math.sqrt(count)
    return mean - half, mean + half


def auroc(positive: Sequence[float], negative: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The chance that a positive scores above a negative, and its interval; equal scores count half.

    With that chance A, m positives and n negatives the interval is where ``|A - a| <= 1.96 sqrt(V(a))``,

        V(a) = a (1 - a) (1 + ((m + n) / 2 - 1) ((1 - a) / (2 - a) + a / (1 + a))) / (m n)

    which is not empty at an A of 0 or 1 either (Newcombe 2006, Stat. Med. 25:559, method 5).

    Example:
        >>> value, interval = auroc([0.8, 0.9, 0.4], [0.1, 0.5])
        >>> round(value, 3), [round(end, 3) for end in interval]
        (0.833, [0.313, 0.981])
    """
    from scipy.stats import rankdata

    m, n = len(positive), len(negative)
    if not m or not n:
        raise ValueError(f"it takes positives and negatives, got {m} and {n}")
    ranks = rankdata([*positive, *negative])[:m]
    value = (float(ranks.sum()) - m * (m + 1) / 2) / (m * n)

    def within(a: float) -> bool:
        variance = a * (1 - a) * (1 + ((m + n) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))) / (m * n)
        return abs(value - a) <= NORMAL_QUANTILE * math.sqrt(variance)

    ends = []
    for end in (0.0, 1.0):
        inside, outside = value, end
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if within(middle) else (inside, middle)
        ends.append(inside)
    return value, (ends[0], ends[1])
