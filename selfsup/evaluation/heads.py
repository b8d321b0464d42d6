"""Many linear classifiers trained at once on cached features, and the one that a hold-out prefers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.probes import split_labels
from selfsup.evaluation.score import Score, absent, accuracy, edge

BLOCK = 8192


class Training(NamedTuple):
    """How heads are trained.

    Attributes:
        steps: of the optimizer.
        batch: samples a step; all of them where there are fewer.
        schedule: factor of the rate at a share of the training, from 0 to 1.
        lars: adapt the rate of each head's matrix (You et al. 2017, arXiv:1708.03888), also at decay 0.
        batch_norm: normalise each batch without learned scale, in evaluation by all training samples.
        momentum, trust: of the optimizer.
    """

    steps: int
    batch: int
    schedule: Callable[[float], float]
    lars: bool = False
    batch_norm: bool = False
    momentum: float = 0.9
    trust: float = 0.001


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
    """The test accuracy of the head that a sweep chose, with how it was chosen.

    Args:
        found: by the sweep.
        labels, test_labels: int64 ``(N,)`` and ``(M,)``.
        settings: of the training, for the record.
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


def cosine(share: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * share))


def sweep(
    inputs: Mapping[str, tuple[Tensor, Tensor]],
    labels: Tensor,
    rates: Sequence[float],
    decays: Sequence[float],
    training: Training | Mapping[str, Training],
    holdout: float = 0.2,
    seed: int = 0,
) -> Sweep:
    """Train a head for each input, rate and decay, choose on a hold-out of the training split, and refit.

    All heads of an input are rows of one product. The head with the best accuracy on a stratified hold-out is
    chosen (the smallest rate among equals) and trained anew on the whole training split.

    Args:
        inputs: training ``(N, D)`` and test features ``(M, D)`` by name.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        rates: learning rates.
        decays: weight decays, each tried with each rate.
        training: the same for all inputs, or by input.
        holdout: share of each class held out to choose.
        seed: of the hold-out and of the order of samples.

    Raises:
        NoScore: fewer than two classes, no class with two samples, or no head that stayed finite.
    """
    present, target, held = split_labels(labels, holdout, seed, "a linear probe")
    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    grid = [(rate, decay) for decay in decays for rate in sorted(rates)]
    ways = training if isinstance(training, Mapping) else dict.fromkeys(inputs, training)
    table: dict[tuple[str, float, float], float] = {}
    for name, (x, _) in inputs.items():
        weights = train_heads(x, target, fit, len(present), grid, ways[name], seed)
        hits = torch.zeros(len(grid))
        for rows in check.split(BLOCK):
            hits += (predict(x[rows], weights) == target[rows]).sum(1)
        fine = weights.isfinite().all(dim=(1, 2))
        for place, (rate, decay) in enumerate(grid):
            table[name, rate, decay] = hits[place].item() / len(check) if fine[place] else -1.0
    best = max(table, key=lambda setting: table[setting])
    if table[best] < 0:
        raise NoScore("every head became infinite; smaller learning rates would do")
    name, rate, decay = best
    everything = torch.arange(len(target))
    x, test = inputs[name]
    weights = train_heads(x, target, everything, len(present), [(rate, decay)], ways[name], seed)
    return Sweep(
        present[torch.cat([predict(rows, weights)[0] for rows in test.split(BLOCK)])],
        {"input": name, "rate": rate, "decay": decay},
        {f"{n} rate={r:g} decay={d:g}": value for (n, r, d), value in table.items()},
        len(check),
        edge(rate, {r: table[name, r, decay] for r, d in grid if d == decay}, "largest rate"),
    )


@torch.no_grad()
def train_heads(
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    classes: int,
    grid: Sequence[tuple[float, float]],
    training: Training,
    seed: int = 0,
) -> Tensor:
    """Linear softmax classifiers by SGD, one for each (rate, decay) of ``grid``, as one batched product.

    The gradient is closed: with P the softmax of a batch's scores, ``(P - onehot)^T X / B``. Every head sees
    the same batches, in an order of ``seed``.

    Args:
        x: features ``(N, D)``.
        y: int64 ``(N,)`` in 0..classes-1.
        rows: int64 ``(n,)``, the samples to train on.
        classes: C.
        grid: of H heads.

    Returns:
        ``(H, C, D + 1)``: weights and, in the last column, biases, for features as they are: what
        ``batch_norm`` does to them is worked in.
    """
    generator = torch.Generator().manual_seed(seed)
    heads, width, batch = len(grid), x.shape[1], min(training.batch, len(rows))
    weights = 0.01 * torch.randn(1, classes, width, generator=generator).repeat(heads, 1, 1)
    biases = torch.zeros(heads, classes)
    speeds = [torch.zeros_like(weights), torch.zeros_like(biases)]
    rate, decay = (torch.tensor(column).view(-1, 1, 1) for column in zip(*grid, strict=True))
    order = rows[:0]
    for step in range(training.steps):
        if len(order) < batch:
            order = rows[torch.randperm(len(rows), generator=generator)]
        taken, order = order[:batch], order[batch:]
        inputs, answer = x[taken].float(), y[taken]
        if training.batch_norm:
            inputs = torch.nn.functional.batch_norm(inputs, None, None, training=True, eps=1e-6)
        flat = weights.view(heads * classes, width)
        # Classes before samples: a softmax over few of them is many times as fast down columns.
        error = torch.addmm(biases.view(-1, 1), flat, inputs.t()).view(heads, classes, batch).softmax(1)
        error.scatter_add_(1, answer.expand(heads, 1, batch), error.new_full((heads, 1, batch), -1.0))
        error /= batch
        gradient = (error.view(-1, batch) @ inputs).view_as(weights).add_(decay * weights)
        if training.lars:
            gradient *= _trust(weights, gradient, training.trust)
        factor = rate * training.schedule(step / training.steps)
        speeds[0].mul_(training.momentum).add_(gradient)
        speeds[1].mul_(training.momentum).add_(error.sum(2))
        weights -= factor * speeds[0]
        biases -= factor.squeeze(2) * speeds[1]
    if training.batch_norm:
        deviation, mean = torch.std_mean(x[rows].float(), dim=0, correction=0)
        weights /= (deviation.square() + 1e-6).sqrt()
        biases -= weights @ mean
    return torch.cat([weights, biases.unsqueeze(2)], dim=2)


def predict(x: Tensor, weights: Tensor) -> Tensor:
    """Classes ``(H, N)`` that heads ``(H, C, D + 1)`` give to ``x`` ``(N, D)``."""
    heads, classes, _ = weights.shape
    flat = weights.view(heads * classes, -1)
    scores = torch.addmm(flat[:, -1:], flat[:, :-1], x.float().t())
    return scores.view(heads, classes, -1).argmax(1)


def _trust(weights: Tensor, gradient: Tensor, trust: float) -> Tensor:
    """LARS's factor of each head's gradient ``(H, 1, 1)``: 1 where a norm is zero."""
    lengths, slopes = (value.flatten(1).norm(dim=1) for value in (weights, gradient))
    ratio = torch.where((lengths > 0) & (slopes > 0), trust * lengths / slopes, 1.0)
    return ratio.view(-1, 1, 1)
