"""What the rows of ``benchmarks.quality.matrix`` say of scores without labels: functions of rows alone.

Accuracy grows along most runs, so that whatever grows with the steps seems to know of it: each score stands
beside the number of steps, and beside labels. The unit is the run. Within a run its checkpoints are ranked;
between methods, the ends of runs of one set and seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import fmean, median
from typing import Any

from benchmarks.rows import Row
from selfsup.evaluation import spearman
from selfsup.evaluation.intervals import NORMAL_QUANTILE, student
from selfsup.evaluation.label_free.clid import Clid, clid_scores
from selfsup.evidence import HELD_OUT
from selfsup.evidence import goodness as goodness_of

# What a score says of a checkpoint: the larger, the better it is said to be.
GOODNESS: dict[str, Callable[[Mapping[str, float]], float]] = {
    "rankme": lambda found: found["rankme"],
    "rankme-centred": lambda found: found["rankme-centred"],
    "alpha-req": lambda found: goodness_of("alpha-req", found["alpha-req"]),
    "nesum": lambda found: found["nesum"],
    "participation-ratio": lambda found: found["participation-ratio"],
    "stable-rank": lambda found: found["stable-rank"],
    "lidar": lambda found: found["lidar"],
    "alignment": lambda found: -found["alignment"],
    "uniformity": lambda found: -found["uniformity"],
    "clid": lambda found: found["clid"],
    "rotation": lambda found: found["rotation"],
    HELD_OUT: lambda found: goodness_of(HELD_OUT, found[HELD_OUT]),
}
BESIDE: dict[str, Callable[[Mapping[str, float]], float]] = {
    "step": lambda found: found["step"],
    "knn-on-training": lambda found: found["knn-on-training"],
}
SCORES = GOODNESS | BESIDE
# Scores that `online.csv` has without further settings, so that a run can choose by them.
ONLINE = ("rankme", "rankme-centred", "alpha-req", "nesum", "participation-ratio", "stable-rank")
FEWEST = 4  # checkpoints or methods to rank
PATIENCE = 2  # checkpoints, of the eight in a run
Loss = Callable[[Row, str], float | None]  # points that a score's choice loses


def trained(row: Row) -> list[dict[str, float]]:
    """A run's checkpoints behind the untrained encoder."""
    return with_clid([dict(each) for each in row["checkpoints"] if each["step"]])


def with_clid(found: list[dict[str, float]]) -> list[dict[str, float]]:
    """The same with CLID, which is standardised over them, if all have its halves."""
    halves = [(each["clid-learnability"], each["clid-dimension"]) for each in found]
    if all(None not in pair for pair in halves):
        for each, value in zip(found, clid_scores([Clid(*pair, 0, 0) for pair in halves]), strict=True):
            each["clid"] = value
    return found


def goodness(name: str, found: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Of each checkpoint by score; None if one has no such score."""
    try:
        return [float(SCORES[name](each)) for each in found]
    except (KeyError, TypeError):
        return None


def along(row: Row, name: str, target: str = "linear") -> float | None:
    """Spearman's correlation of a score and accuracy over a run's checkpoints."""
    found = trained(row)
    values = goodness(name, found)
    return None if values is None else spearman(values, [each[target] for each in found])


def between(rows: Sequence[Row], name: str, target: str = "linear") -> float | None:
    """The same over methods at the ends of their runs; ``rows`` are of one set and seed."""
    ends = with_clid([dict(row["checkpoints"][-1]) for row in rows])
    values = goodness(name, ends) if name in SCORES else [each.get(name) for each in ends]
    reached = [each.get(target) for each in ends]
    if len(rows) < FEWEST or values is None or None in [*values, *reached]:
        return None
    return spearman(values, reached)  # type: ignore[arg-type]


def by_set(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    """Rows of one set and seed together."""

    def key(row: Row) -> tuple[str, int]:
        return row["set"], row["seed"]

    return {which: list(some) for which, some in groupby(sorted(rows, key=key), key)}


def mean_and_interval(correlations: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean over runs, and Student's interval cut to what a correlation can be."""
    low, high = student(correlations)
    return fmean(correlations), (max(low, -1.0), min(high, 1.0))


def bonett_wright(rho: float, n: int) -> tuple[float, float]:
    """The 95 % interval of Spearman's correlation of n pairs (Bonett and Wright 2000, Psychometrika 65:23).

    ``tanh(atanh(rho) ± 1.96 sqrt((1 + rho² / 2) / (n - 3)))``.

    >>> [round(end, 6) for end in bonett_wright(0.699300699, 12)]
    [0.136248, 0.920876]
    """
    if n <= 3:
        return -1.0, 1.0
    half = NORMAL_QUANTILE * math.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = math.atanh(min(max(rho, -1 + 1e-9), 1 - 1e-9))
    return math.tanh(middle - half), math.tanh(middle + half)


def chosen(row: Row, name: str, target: str = "linear") -> float | None:
    """The accuracy at the checkpoint that a score chooses: of several that it thinks equal, their mean."""
    found = trained(row)
    values = goodness(name, found)
    if values is None:
        return None
    return fmean(each[target] for each, value in zip(found, values, strict=True) if value == max(values))


def loss_against_labels(row: Row, name: str) -> float | None:
    """Points of linear accuracy that a score's choice loses against that by labels; below 0, it gains."""
    ours, labels = chosen(row, name), chosen(row, "knn-on-training")
    return None if ours is None or labels is None else 100 * (labels - ours)


def regret(row: Row, name: str) -> float | None:
    """Points of linear accuracy below the best of a run's checkpoints."""
    ours = chosen(row, name)
    return None if ours is None else 100 * (max(each["linear"] for each in trained(row)) - ours)


def best_score(
    rows: Sequence[Row], names: Sequence[str] = ONLINE, lost: Loss = loss_against_labels
) -> str | None:
    """The score with the least median loss over runs; of equal ones, that with the least worst."""
    losses = {name: [value for row in rows if (value := lost(row, name)) is not None] for name in names}
    usable = {name: values for name, values in losses.items() if values and len(values) == len(rows)}
    if not usable:
        return None
    return min(usable, key=lambda name: (median(usable[name]), max(usable[name])))


def left_out(
    rows: Sequence[Row], names: Sequence[str] = ONLINE, lost: Loss = loss_against_labels
) -> list[tuple[Row, str, float]]:
    """Each run of a method judged by the score that the other sets' runs choose: row, score and its loss.

    So no score is praised for the runs it was picked by.
    """
    found = []
    for row in rows:
        others = [each for each in rows if each["set"] != row["set"]]
        name = best_score(others, names, lost) if others else None
        if name is not None and (loss := lost(row, name)) is not None:
            found.append((row, name, loss))
    return found


def stopped(row: Row, name: str, patience: int = PATIENCE) -> tuple[float, float] | None:
    """Stop once a score has not grown for ``patience`` checkpoints, and take its best one so far.

    Returns:
        Points of linear accuracy below the end of the run, and the share of its steps that were made.
    """
    found = trained(row)
    values = goodness(name, found)
    if values is None:
        return None
    best = 0
    for now, value in enumerate(values):
        if value > values[best]:
            best = now
        elif now - best >= patience:
            return 100 * (found[-1]["linear"] - found[best]["linear"]), (now + 1) / len(values)
    return 100 * (found[-1]["linear"] - found[best]["linear"]), 1.0


def lost_by_stopping(row: Row, name: str) -> float | None:
    """Points of linear accuracy below the end of a run that :func:`stopped`."""
    found = stopped(row, name)
    return None if found is None else found[0]
