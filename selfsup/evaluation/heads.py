"""Many linear classifiers trained at once on cached features, and the one that a hold-out prefers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.probes import split_labels
from selfsup.evaluation.score import Score, absent, accuracy, edge

BLOCK, SMALL = 8192, 256


class Training(NamedTuple):
    """How heads are trained.

    Attributes:
        steps: of the optimizer.
        batch: samples a step; all of them where there are fewer.
        schedule: factor of the rate at a share of the training, from 0 to 1.
        lars: adapt the rate of each head's matrix (You et al. 2017, arXiv:1708.03888), also at decay 0.
        momentum, trust: of the optimizer.
    """

    steps: int
    batch: int
    schedule: Callable[[float], float]
    lars: bool = False
    momentum: float = 0.9
    trust: float = 0.001


class Input(NamedTuple):
    """What of the features some heads see.

    Attributes:
        columns: of the features.
        batch_norm: normalise each batch without learned scale, in evaluation by all training samples.
    """

    columns: slice = slice(None)
    batch_norm: bool = False


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

    The head with the best accuracy on a stratified hold-out is chosen (the smallest rate among equals) and
    trained anew on the whole training split.

    Args:
        train: features ``(N, D)``.
        test: features ``(M, D)``.
        inputs: by name.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        rates: learning rates.
        decays: weight decays, each tried with each rate.
        training: how.
        holdout: share of each class held out to choose.
        seed: of the hold-out and of the order of samples.

    Raises:
        NoScore: fewer than two classes, no class with two samples, or no head that stayed finite.
    """
    present, target, held = split_labels(labels, holdout, seed, "a linear probe")
    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    grid = [(rate, decay) for decay in decays for rate in sorted(rates)]
    trained = train_heads(train, target, fit, len(present), inputs.values(), grid, training, seed)
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
        raise NoScore("every head became infinite; smaller learning rates would do")
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


@torch.no_grad()
def train_heads(
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    classes: int,
    inputs: Iterable[Input],
    grid: Sequence[tuple[float, float]],
    training: Training,
    seed: int = 0,
) -> list[Tensor]:
    """Linear softmax classifiers by SGD, one for each input and (rate, decay) of ``grid``.

    Those of an input are one batched product, and all see the same batches, in an order of ``seed``. The
    gradient is closed: with P the softmax of a batch's scores, ``(P - onehot)^T X / B``.

    Args:
        x: features ``(N, D)``.
        y: int64 ``(N,)`` in 0..classes-1.
        rows: int64 ``(n,)``, the samples to train on.
        classes: C.
        grid: of H heads.

    Returns:
        For each input ``(H, C, d + 1)``, of its columns: weights and, in the last column, biases, for
        features as they are: what batch norm does to them is worked in.
    """
    batch = min(training.batch, len(rows))
    every = [_Heads(x.shape[1], each, classes, grid, training, seed) for each in inputs]
    normed = any(heads.batch_norm for heads in every)
    # One buffer for all batches: fresh ones cost a CPU more in page faults than the copy takes.
    buffer = x.new_empty(batch, x.shape[1])
    generator = torch.Generator().manual_seed(seed)
    order = rows[:0]
    for step in range(training.steps):
        if len(order) < batch:
            order = rows[torch.randperm(len(rows), generator=generator)]
        taken, order = order[:batch], order[batch:]
        seen = torch.index_select(x, 0, taken, out=buffer).float()
        norm = _mean_and_scale(seen.split(SMALL)) if normed else None
        for heads in every:
            heads.step(seen, y[taken], norm, training.schedule(step / training.steps))
    norm = _mean_and_scale(x[some].float() for some in rows.split(BLOCK)) if normed else None
    return [torch.cat(heads.through(norm), dim=1).view(len(grid), classes, -1) for heads in every]


class _Heads:
    """Heads of one input, the classes of one after those of the other: ``(H * C, d)`` and ``(H * C, 1)``."""

    def __init__(
        self,
        width: int,
        input: Input,
        classes: int,
        grid: Sequence[tuple[float, float]],
        training: Training,
        seed: int,
    ) -> None:
        self.columns, self.batch_norm = input
        width = len(range(width)[self.columns])
        first = 0.01 * torch.randn(classes, width, generator=torch.Generator().manual_seed(seed))
        self.weights, self.biases = first.repeat(len(grid), 1), torch.zeros(len(grid) * classes, 1)
        self.speed, self.bias_speed = torch.zeros_like(self.weights), torch.zeros_like(self.biases)
        self.rates, self.decays = torch.tensor(grid).repeat_interleave(classes, dim=0).split(1, dim=1)
        self.shape, self.training = (len(grid), classes, -1), training

    def through(self, norm: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Weights and biases for features as they are, if the heads see them normalised."""
        if norm is None or not self.batch_norm:
            return self.weights, self.biases
        mean, scale = (each[self.columns] for each in norm)
        weights = self.weights / scale
        return weights, self.biases - (weights @ mean).unsqueeze(1)

    def step(self, seen: Tensor, answer: Tensor, norm: tuple[Tensor, Tensor] | None, schedule: float) -> None:
        """One of SGD on features ``(B, D)`` of classes ``(B,)``."""
        inputs, batch = seen[:, self.columns], len(seen)
        weights, biases = self.through(norm)
        # Classes before samples: a softmax over few of them is many times as fast down columns.
        error = torch.addmm(biases, weights, inputs.t()).view(self.shape).softmax(1)
        answer = answer.expand(len(error), 1, batch)
        error.scatter_add_(1, answer, error.new_full((), -1.0).expand_as(answer))
        error = (error / batch).view(-1, batch)
        total = error.sum(1, keepdim=True)
        gradient = error @ inputs
        if norm is not None and self.batch_norm:
            # As the product with normalised features would be, which need not be made for it.
            mean, scale = (each[self.columns] for each in norm)
            gradient = gradient.sub_(total * mean).div_(scale)
        gradient.addcmul_(self.decays, self.weights)
        if self.training.lars:
            gradient = _adapted(gradient, self.weights, self.shape, self.training.trust)
        self.speed.mul_(self.training.momentum).add_(gradient)
        self.bias_speed.mul_(self.training.momentum).add_(total)
        self.weights.addcmul_(self.rates, self.speed, value=-schedule)
        self.biases.addcmul_(self.rates, self.bias_speed, value=-schedule)


def _mean_and_scale(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and ``sqrt(variance + 1e-6)`` of the rows of all blocks, ``(D,)`` each; the blocks are few rows
    at a time, so that what is made of one stays in the cache."""
    shift, count = None, 0
    for block in blocks:
        if shift is None:
            # Near enough to the mean for nothing to cancel.
            shift = block.mean(dim=0)
            total = square = torch.zeros_like(shift, dtype=torch.float64)
        away = block - shift
        total = total + away.sum(dim=0)
        square = square + away.square_().sum(dim=0)
        count += len(block)
    assert shift is not None
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)
    return (shift + mean).float(), (variance + 1e-6).sqrt().float()


def predict(x: Tensor, weights: Tensor) -> Tensor:
    """Classes ``(H, N)`` that heads ``(H, C, D + 1)`` give to ``x`` ``(N, D)``."""
    heads, classes, _ = weights.shape
    flat = weights.view(heads * classes, -1)
    scores = torch.addmm(flat[:, -1:], flat[:, :-1], x.float().t())
    return scores.view(heads, classes, -1).argmax(1)


def _adapted(gradient: Tensor, weights: Tensor, shape: tuple[int, ...], trust: float) -> Tensor:
    """The gradient times LARS's factor of each head: 1 where a norm is zero."""
    lengths, slopes = (value.view(shape).flatten(1).norm(dim=1) for value in (weights, gradient))
    ratio = torch.where((lengths > 0) & (slopes > 0), trust * lengths / slopes, 1.0)
    return (gradient.view(shape) * ratio.view(-1, 1, 1)).view_as(gradient)
