"""Accuracy with a few labelled samples a class."""

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features
from selfsup.evaluation.intervals import student
from selfsup.evaluation.probes import nshot
from selfsup.evaluation.registry import Count, Counts, Positive, named
from selfsup.evaluation.score import Score, absent

CITATION = "after the few-shot evaluation of big_vision (Beyer et al. 2022)"


@named(lambda shots, **settings: [f"{number}-shot" for number in shots])
def score(
    train: Features, test: Features, *, shots: Counts, draws: Count, strength: Positive, seed: int
) -> dict[str, Score]:
    """Means over draws of the labelled samples, one score for each number of ``shots``."""
    return {f"{number}-shot": _one(train, test, number, draws, strength, seed) for number in shots}


def _one(train: Features, test: Features, shots: int, draws: int, strength: float, seed: int) -> Score:
    assert train.labels is not None
    assert test.labels is not None
    settings = {"classifier": "ridge", "strength": strength, "shots": shots, "draws": draws}
    try:
        accuracies = nshot(train.x, train.labels, test.x, test.labels, shots, draws, seed, strength)
    except NoScore as why:
        return Score(reason=str(why), settings=settings, citation=CITATION, accuracy=True)
    low, high = student(accuracies)
    return Score(
        value=sum(accuracies) / draws,
        interval=(max(low, 0.0), min(high, 1.0)) if draws > 1 else None,
        settings=settings | {"accuracies": accuracies},
        seed=seed,
        citation=CITATION,
        flags=absent(train.labels, test.labels),
        accuracy=True,
    )
