"""What was measured and is advised by: how methods did, and what choices without labels lost in their runs.

``evidence.json`` beside this file is made by ``python -m benchmarks.tables`` from the results of
``benchmarks/quality/golden.py`` and ``matrix.py`` (docs/results, docs/label-free.md).
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

MOST_LOST = 1.0  # points of linear accuracy in the median run: with more, nobody is advised to choose so
HELD_OUT = "loss-held-out"
BEST, STOP = "best", "stop"  # which checkpoint to keep; when to end a run


class Evidence(NamedTuple):
    """What choosing by a score lost in a method's runs.

    Attributes:
        method: the runs'.
        use: what is chosen, :data:`BEST` or :data:`STOP`.
        labels: whether the score needs labels.
        score: its name in ``online.csv``.
        runs: how many.
        sets: the images they learned from.
        lost: points of linear accuracy in the median run, judged on sets that did not choose the score:
            against a choice by labels, or of a run that was stopped against its end.
        worst: the same of the worst run.
        steps: share of their steps that runs made, 1 unless they were stopped.
        last, last_worst: points that the last encoder lost in the median and the worst run, against the same.
    """

    method: str
    use: str
    labels: bool
    score: str
    runs: int
    sets: tuple[str, ...]
    lost: float
    worst: float
    steps: float
    last: float
    last_worst: float

    @property
    def holds(self) -> bool:
        """Whether choices may be made by it: it loses little, and a kept encoder no more than the last.

        The last encoder is there in any case, so that a score has to match it in the worst run as well.
        """
        if self.use == STOP:
            return self.lost <= MOST_LOST
        return self.lost <= min(MOST_LOST, self.last) and self.worst <= self.last_worst

    def __str__(self) -> str:
        against = "the end of the run" if self.use == STOP else "choosing by labels"
        after = f" after {100 * self.steps:.0f} % of the steps" if self.use == STOP else ""
        last = worst = ""
        if self.use == BEST:
            last, worst = f" (the last encoder {_points(self.last)})", f" ({_points(self.last_worst)})"
        return (
            f"{self.score}, which in {self.runs} runs of {self.method} on {_and(self.sets)} lost "
            f"{_points(self.lost)} points of linear accuracy{after} against {against} in the median{last}, "
            f"and {_points(self.worst)}{worst} in the worst"
        )


class Measured(NamedTuple):
    """How a method did with its shipped settings on one set of images: accuracies are means over seeds.

    Attributes:
        suite, method, experiment: names.
        images, epochs: that it learned from, and how often.
        seeds: how many.
        minutes: of its fastest seed, on two cores.
        linear, knn: accuracy, from 0 to 1; ``…_interval`` of one seed's test images, ``…_untrained`` of the
            same network before.
    """

    suite: str
    method: str
    experiment: str
    images: int
    epochs: int
    seeds: int
    minutes: float
    linear: float
    linear_interval: tuple[float, float]
    linear_untrained: float
    knn: float
    knn_interval: tuple[float, float]
    knn_untrained: float

    def value(self, by: str) -> float:
        """The accuracy by that name."""
        return float(getattr(self, by))

    def interval(self, by: str) -> tuple[float, float]:
        """Its 95 % interval over test images."""
        low, high = getattr(self, f"{by}_interval")
        return float(low), float(high)

    def untrained(self, by: str) -> float:
        """The untrained network's."""
        return float(getattr(self, f"{by}_untrained"))


def measured(suite: str) -> list[Measured]:
    """Methods without labels that were measured on ``digits`` or ``cifar10-cpu``."""
    return [each for row in _read()["methods"] if (each := Measured(**row)).suite == suite]


def evidence(method: str, use: str, labels: bool = False) -> Evidence | None:
    """What is known of a method's runs, or None."""
    wanted = method, use, labels
    return next((each for each in _all() if (each.method, each.use, each.labels) == wanted), None)


def goodness(score: str, value: float) -> float:
    """A score such that more is better: alpha-ReQ is best near 1, and a loss the lower the better.

    >>> goodness("alpha-req", 1.5), goodness("loss-held-out", 2.0), goodness("rankme", 30.0)
    (-0.5, -2.0, 30.0)
    """
    if score == "alpha-req":
        return -abs(value - 1)
    return -value if score == HELD_OUT else value


def _all() -> list[Evidence]:
    return [Evidence(**{**row, "sets": tuple(row["sets"])}) for row in _read()["choices"]]


@cache
def _read() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(
        Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    )
    return found


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"  # no minus in front of 0


def _and(words: tuple[str, ...]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
