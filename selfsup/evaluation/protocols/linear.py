"""The linear probe: softmax regression by SGD, every rate and decay at once."""

from selfsup.evaluation.classifiers.heads import Input, Training, cosine
from selfsup.evaluation.classifiers.probes import whiten
from selfsup.evaluation.classifiers.sweep import sweep, swept
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Count, Decays, Fraction, Positives
from selfsup.evaluation.score import Score


def score(
    train: Features,
    test: Features,
    *,
    rates: Positives,
    decays: Decays,
    steps: Count,
    batch: Count,
    holdout: Fraction,
    seed: int,
) -> Score:
    """Accuracy of the head that was best on a hold-out of the training split, on whitened features."""
    assert train.labels is not None
    assert test.labels is not None
    x, asked = whiten(train.x, test.x)
    training = Training(steps, batch, cosine)
    found = sweep(x, asked, {"whitened": Input()}, train.labels, rates, decays, training, holdout, seed)
    return swept(
        found,
        train.labels,
        test.labels,
        seed=seed,
        citation="the sweep of Oquab et al. 2023, arXiv:2304.07193, on cached features",
        classifier="softmax regression by SGD on whitened features, refitted to the whole split",
        steps=steps,
        batch=batch,
    )
