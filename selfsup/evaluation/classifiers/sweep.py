"""Selection among many heads on a hold-out, and the score of the best."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.heads import BLOCK, Input, Training, predict, train_heads
from selfsup.evaluation.classifiers.probes import split_labels
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.score import Score, absent, accuracy, edge


class Sweep(NamedTuple):
    """What :func:`sweep` found.

    Attributes:
        predictions: int64 ``(M,)``, for the test features.
        chosen: the input, rate and decay of the chosen head.
        holdout: accuracy of each head on the hold-out, by ``"INPUT rate=... decay=..."``.
        samples: size of the hold-out.
        flags: a sentence if the chosen rate is the largest tried.
    """

    predictions: Tensor
    chosen: dict[str, str | float]
    holdout: dict[str, float]
    samples: int
    flags: list[str]


def swept(
    found: Sweep,
    labels: Tensor,
    test_labels: Tensor,
    *,
    seed: int,
    citation: str,
    title: str | None = None,
    **settings: str | float,
) -> Score:
    """The test accuracy of a sweep's chosen head, and how it was chosen.

    Args:
        found: by the sweep.
        labels, test_labels: int64 ``(N,)`` and ``(M,)``.
        settings: of the training, to be recorded.
    """
    return accuracy(
        found.predictions,
        test_labels,
        split=f"hold-out of {found.samples} training samples",
        seed=seed,
        settings={**settings, "chosen": found.chosen, "holdout_accuracy": found.holdout},
        citation=citation,
        flags=absent(labels, test_labels) + found.flags,
        title=title,
    )


def sweep(
    train: Tensor,
    test: Tensor,
    inputs: Mapping[str, Input],
    labels: Tensor,
    rates: Sequence[float],
    decays: Sequence[float],
    training: Training,
    holdout: float = 0.2,
    seed: int = 0,
) -> Sweep:
    """Train a head for each input, rate and decay, choose on a hold-out of the training split, and refit.

    The head with the best accuracy on a stratified hold-out is chosen (the smallest rate in a tie) and
    trained again on the whole training split, for as many epochs.

    Args:
        train: features ``(N, D)``.
        test: features ``(M, D)``.
        inputs: by name.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        rates: learning rates.
        decays: weight decays, each tried with each rate.
        training: the settings of training on the whole split.
        holdout: share of each class held out to choose.
        seed: of the hold-out and of the order of samples.

    Raises:
        NoScore: fewer than two classes, no class with two samples, or no head that stayed finite.
    """
    present, target, held = split_labels(labels, holdout, seed, "a linear probe")
    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    grid = [(rate, decay) for decay in decays for rate in sorted(rates)]
    # As many epochs as the refit.
    fewer = training._replace(steps=max(1, round(training.steps * len(fit) / len(target))))
    trained = train_heads(train, target, fit, len(present), list(inputs.values()), grid, fewer, seed)
    hits = torch.zeros(len(inputs), len(grid), dtype=torch.float64)
    for rows in check.split(BLOCK):
        part = train[rows]
        for place, (each, weights) in enumerate(zip(inputs.values(), trained, strict=True)):
            hits[place] += (predict(part[:, each.columns], weights) == target[rows]).sum(1)
    fine = torch.stack([weights.isfinite().all(dim=(1, 2)) for weights in trained])
    accuracies = torch.where(fine, hits / len(check), -1.0).flatten().tolist()
    settings = [(name, rate, decay) for name in inputs for rate, decay in grid]
    table = dict(zip(settings, accuracies, strict=True))
    best = max(table, key=lambda setting: table[setting])
    if table[best] < 0:
        raise NoScore("every head became infinite; choose smaller learning rates")
    name, rate, decay = best
    columns, alone = inputs[name].columns, [Input(batch_norm=inputs[name].batch_norm)]
    everything = torch.arange(len(target))
    x, asked = train[:, columns], test[:, columns]
    (weights,) = train_heads(x, target, everything, len(present), alone, [(rate, decay)], training, seed)
    return Sweep(
        present[torch.cat([predict(rows, weights)[0] for rows in asked.split(BLOCK)])],
        {"input": name, "rate": rate, "decay": decay},
        {f"{n} rate={r:g} decay={d:g}": value for (n, r, d), value in table.items()},
        len(check),
        edge(rate, {r: table[name, r, decay] for r, d in grid if d == decay}, "largest rate"),
    )
