"""Multinomial logistic regression, fitted until it converges."""

from selfsup.evaluation.classifiers.probes import linear_probe
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Fraction, Positives
from selfsup.evaluation.score import Score, absent, accuracy, edge


def score(train: Features, test: Features, *, strengths: Positives, holdout: Fraction, seed: int) -> Score:
    """Accuracy of the classifier whose strength was best on a hold-out of the training split."""
    assert train.labels is not None
    assert test.labels is not None
    probe = linear_probe(train.x, train.labels, test.x, strengths, holdout, seed)
    return accuracy(
        probe.predictions,
        test.labels,
        split=f"hold-out of {probe.samples} training samples",
        seed=seed,
        settings={
            "classifier": "logistic regression on standardised features, refitted to the whole split",
            "strength": probe.strength,
            "holdout_accuracy": {f"{strength:g}": value for strength, value in probe.holdout.items()},
        },
        citation="Oquab et al. 2023, arXiv:2304.07193",
        flags=absent(train.labels, test.labels) + edge(probe.strength, probe.holdout, "strongest penalty"),
    )
