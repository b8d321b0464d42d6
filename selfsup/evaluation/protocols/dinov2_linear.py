"""DINOv2's linear evaluation: heads over blocks, tokens and learning rates, all at once."""

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.heads import Input, Training, cosine
from selfsup.evaluation.classifiers.sweep import sweep, swept
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Count, Counts, Fraction, Positives
from selfsup.evaluation.score import Score


def score(
    train: Features,
    test: Features,
    *,
    blocks: Counts,
    rates: Positives,
    steps: Count,
    batch: Count,
    holdout: Fraction,
    seed: int,
) -> Score:
    """Accuracy of the best of ``{last 1, last 4 blocks} x {class token, with averaged patches} x rates``.

    ``rates`` are for batches of 1024. As published, except for the selection, on a hold-out of the training
    split and not on the test split, and for cached features, without augmentation. Features are not
    standardised.
    """
    assert train.labels is not None
    assert test.labels is not None
    depth, kinds, width = train.parts["blocks"].x.shape[1:]
    x, asked = (_columns(each.parts["blocks"].x) for each in (train, test))
    token = "class token" if kinds == 2 else "averaged patches"
    inputs = {}
    for count in sorted({min(each, depth) for each in blocks}):
        first = (depth - count) * width
        inputs[f"last {count}, {token}"] = Input(slice(first, depth * width))
        if kinds == 2:
            inputs[f"last {count}, {token} and patches"] = Input(slice(first, (depth + 1) * width))
    training = Training(steps, batch, cosine)
    scaled = [rate * batch / 1024 for rate in rates]
    found = sweep(x, asked, inputs, train.labels, scaled, [0.0], training, holdout, seed)
    return swept(
        found,
        train.labels,
        test.labels,
        seed=seed,
        citation="Oquab et al. 2023, arXiv:2304.07193",
        title="DINOv2 linear",
        steps=steps,
        batch=batch,
    )


def _columns(blocks: Tensor) -> Tensor:
    """The first tokens of blocks ``(N, n, t, D)`` and the last one's patches: ``(N, (n + t - 1) * D)``.

    In this order every input of a head is a stretch of the columns, and none is a copy.
    """
    return torch.cat([blocks[:, :, 0], blocks[:, -1, 1:]], dim=1).flatten(1)
