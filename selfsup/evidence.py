"""What choices without labels lost in measured runs, for runs to choose by (docs/label-free.md).

``evidence.json`` beside this file is made from the rows of ``benchmarks/quality/matrix.py``.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

MOST_LOST = 1.0  # points of linear accuracy in the median run: with more, nobody is advised to choose so
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

    @property
    def holds(self) -> bool:
        """Whether choices may be made by it."""
        return self.lost <= MOST_LOST

    def __str__(self) -> str:
        against = "the end of the run" if self.use == STOP else "choosing by labels"
        after = f" after {100 * self.steps:.0f} % of the steps" if self.use == STOP else ""
        return (
            f"{self.score}, which in {self.runs} runs of {self.method} on {_and(self.sets)} lost "
            f"{self.lost:.1f} points of linear accuracy{after} against {against} in the median, and "
            f"{self.worst:.1f} in the worst"
        )


def evidence(method: str, use: str, labels: bool = False) -> Evidence | None:
    """What is known of a method's runs, or None."""
    wanted = method, use, labels
    return next((each for each in _all() if (each.method, each.use, each.labels) == wanted), None)


def goodness(score: str, value: float) -> float:
    """A score such that more is better: alpha-ReQ is best near 1.

    >>> goodness("alpha-req", 1.5), goodness("rankme", 30.0)
    (-0.5, 30.0)
    """
    return -abs(value - 1) if score == "alpha-req" else value


@cache
def _all() -> list[Evidence]:
    path = Path(__file__).with_suffix(".json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Evidence(**{**row, "sets": tuple(row["sets"])}) for row in rows]


def _and(words: tuple[str, ...]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
