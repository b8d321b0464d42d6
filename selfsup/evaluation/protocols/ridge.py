"""A ridge classifier in closed form, independent of an optimizer."""

from selfsup.evaluation.features import Features
from selfsup.evaluation.registry import Fraction, Positives
from selfsup.evaluation.ridge import ridge_probe
from selfsup.evaluation.score import Score, absent, accuracy, edge


def score(train: Features, test: Features, *, strengths: Positives, holdout: Fraction, seed: int) -> Score:
    """Accuracy of least squares on one-hot labels, its strength selected on a hold-out of training."""
    assert train.labels is not None
    assert test.labels is not None
    probe = ridge_probe(train.x, train.labels, test.x, strengths, holdout, seed)
    return accuracy(
        probe.predictions,
        test.labels,
        split=f"hold-out of {probe.samples} training samples",
        seed=seed,
        settings={
            "classifier": "ridge on one-hot labels, standardised features, refitted to the whole split",
            "strength": probe.strength,
            "holdout_accuracy": {f"{strength:g}": value for strength, value in probe.holdout.items()},
        },
        citation="Hoerl and Kennard 1970, Technometrics 12:55; as in big_vision's few-shot evaluation",
        flags=absent(train.labels, test.labels) + edge(probe.strength, probe.holdout, "strongest penalty"),
    )
