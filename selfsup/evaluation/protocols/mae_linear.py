"""MAE's linear probe: batch norm without learned scale, then a head by LARS."""

from typing import Annotated

from selfsup.evaluation.classifiers.heads import Input, Training, cosine
from selfsup.evaluation.classifiers.sweep import sweep, swept
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import AtLeast, Count, Fraction, Positives
from selfsup.evaluation.score import Score


def score(
    train: Features,
    test: Features,
    *,
    rates: Positives,
    epochs: Count,
    warmup_epochs: Annotated[int, AtLeast(0)],
    batch: Annotated[int, AtLeast(2)],
    holdout: Fraction,
    seed: int,
) -> Score:
    """Accuracy of the head whose rate was best on a hold-out of the training split.

    The normalisation matters most where features' dimensions differ in scale, as masked image modelling
    leaves them. Cached features have no augmentation. ``rates`` are per 256 samples of a batch.
    """
    assert train.labels is not None
    assert test.labels is not None
    batch = min(batch, len(train))
    steps = max(1, epochs * len(train) // batch)
    share = min(1.0, warmup_epochs / epochs)
    training = Training(
        steps,
        batch,
        lambda done: done / share if done < share else cosine((done - share) / (1 - share)),
        lars=True,
    )
    scaled = [rate * batch / 256 for rate in rates]
    inputs = {"pooled": Input(batch_norm=True)}
    found = sweep(train.x, test.x, inputs, train.labels, scaled, [0.0], training, holdout, seed)
    return swept(
        found,
        train.labels,
        test.labels,
        seed=seed,
        citation="He et al. 2021, arXiv:2111.06377",
        title="MAE linear",
        classifier="batch norm without affine, then softmax regression by LARS",
        steps=steps,
        batch=batch,
    )
