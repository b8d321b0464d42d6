"""Accuracy with a few labelled samples a class."""

from selfsup.evaluation.classifiers.fewshot import nshot
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.intervals import student
from selfsup.evaluation.registry import Count, Counts, Positive, Positives, named
from selfsup.evaluation.score import NOTHING_SELECTED, Score, absent

CITATION = "after the few-shot evaluation of big_vision (Beyer et al. 2022)"


@named(lambda shots, **settings: [f"{number}-shot" for number in shots])
def score(
    train: Features,
    test: Features,
    *,
    shots: Counts,
    draws: Count,
    strengths: Positives,
    single: Positive,
    seed: int,
) -> dict[str, Score]:
    """Means over draws of the labelled samples, one score for each number of ``shots``.

    The first has a column in the table; all are recorded.
    """
    scores = {f"{number}-shot": _one(train, test, number, draws, strengths, single, seed) for number in shots}
    for place, found in enumerate(scores.values()):
        found.shown = place == 0
    return scores


def _one(
    train: Features,
    test: Features,
    shots: int,
    draws: int,
    strengths: list[float],
    single: float,
    seed: int,
) -> Score:
    assert train.labels is not None
    assert test.labels is not None
    settings = {
        "classifier": "ridge on centred features",
        "strengths": [single] if shots == 1 else list(strengths),
        "shots": shots,
        "draws": draws,
    }
    try:
        found = nshot(
            train.x, train.labels, test.x, test.labels, shots, draws, seed, strengths, single=single
        )
    except NoScore as why:
        return Score(reason=str(why), settings=settings, citation=CITATION, accuracy=True)
    low, high = student(found.accuracies)
    return Score(
        value=sum(found.accuracies) / draws,
        interval=(max(low, 0.0), min(high, 1.0)) if draws > 1 else None,
        split=NOTHING_SELECTED if shots == 1 else "leave-one-out of the drawn samples",
        settings=settings | {"accuracies": found.accuracies, "chosen": found.strengths},
        seed=seed,
        citation=CITATION,
        flags=absent(train.labels, test.labels),
        accuracy=True,
    )
