"""How evenly features cover the sphere."""

from selfsup.evaluation.features import Features, evenly
from selfsup.evaluation.registry import Count, Positive
from selfsup.evaluation.score import Score
from selfsup.evaluation.uniformity import repeated, uniformity


def score(train: Features, test: Features, *, t: Positive, samples: Count) -> Score:
    """:func:`selfsup.evaluation.uniformity` of evenly spaced training samples."""
    some = train.x[evenly(len(train), samples)]
    return Score(
        value=uniformity(some, t),
        settings={"t": t, "samples": len(some)},
        citation="Wang and Isola 2020, arXiv:2005.10242",
        flags=[flag for flag in [repeated(some)] if flag],
        n_train=len(some),
        n_test=0,
        higher_is_better=False,
    )
