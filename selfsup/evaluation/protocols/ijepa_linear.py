"""I-JEPA's linear evaluation: average-pooled patches of the last block, or of the last four."""

from typing import Annotated

from selfsup.evaluation.classifiers.heads import Input, Training
from selfsup.evaluation.classifiers.sweep import sweep, swept
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import AtLeast, Count, Decays, Fraction, Positives
from selfsup.evaluation.score import Score


def thirds(share: float) -> float:
    """A tenth after every 15 of 50 epochs."""
    return 0.1 ** int(share * 50 / 15)


def score(
    train: Features,
    test: Features,
    *,
    rates: Positives,
    decays: Decays,
    epochs: Count,
    batch: Annotated[int, AtLeast(2)],
    holdout: Fraction,
    seed: int,
) -> Score:
    """Accuracy of the best of ``{last, last four blocks} x {batch norm, none} x decays x rates``.

    As published, except for the selection, on a hold-out of the training split and not on the test split, and
    for cached features, without augmentation. ``rates`` are per 256 samples of a batch.
    """
    assert train.labels is not None
    assert test.labels is not None
    batch = min(batch, len(train))
    steps = max(1, epochs * len(train) // batch)
    # Averaged patches of the last block are the last columns of those of all blocks.
    x, asked = (each.parts["blocks"].x[:, :, -1].flatten(1) for each in (train, test))
    depth, _, width = train.parts["blocks"].x.shape[1:]
    inputs = {}
    for name, columns in {"last block": width, f"last {depth} blocks": depth * width}.items():
        for normed in (True, False):
            called = f"{name}, {'batch norm' if normed else 'plain'}"
            inputs[called] = Input(slice(-columns, None), normed)
    training = Training(steps, batch, thirds, lars=True)
    scaled = [rate * batch / 256 for rate in rates]
    found = sweep(x, asked, inputs, train.labels, scaled, decays, training, holdout, seed)
    return swept(
        found,
        train.labels,
        test.labels,
        seed=seed,
        citation="Assran et al. 2023, arXiv:2301.08243, appendix A.2",
        title="I-JEPA linear",
        steps=steps,
        batch=batch,
    )
