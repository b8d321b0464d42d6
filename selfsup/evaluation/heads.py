"""Many linear classifiers trained at once on cached features, and the one that a hold-out prefers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    # Buffers for all batches: fresh ones cost a CPU more in page faults than what is done with them.
    buffer, squares = x.new_empty(batch, x.shape[1]), None
    centre = torch.zeros(x.shape[1])
    if any(heads.batch_norm for heads in every):
        squares = torch.empty(batch, x.shape[1])
        centre = x[rows[:: max(1, len(rows) // batch)]].float().mean(dim=0)

    def seen(some: Tensor) -> Tensor:
        """Features less what is near their mean, so that in sums of their squares nothing cancels."""
        found = torch.index_select(x, 0, some, out=buffer[: len(some)]).float()
        return found if squares is None else found.sub_(centre)

    generator = torch.Generator().manual_seed(seed)
    order, norm = rows[:0], None
    for step in range(training.steps):
        if len(order) < batch:
            order = rows[torch.randperm(len(rows), generator=generator)]
        taken, order = order[:batch], order[batch:]
        features, answer = seen(taken), y[taken]
        if squares is not None:
            norm = _mean_and_scale([features], squares)
        for heads in every:
            heads.step(features, centre, norm, answer, training.schedule(step / training.steps))
    if squares is not None:
        mean, scale = _mean_and_scale((seen(some) for some in rows.split(batch)), squares)
        norm = mean + centre, scale
    found = [heads.through(torch.zeros_like(centre), norm)[:2] for heads in every]
    return [torch.cat(parts, dim=1).view(len(grid), classes, -1) for parts in found]


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

    def through(
        self, centre: Tensor, norm: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Weights and biases for features less ``centre``, and the shift and scale that they stand for.

        The heads see ``(features - shift) / scale``, which is never made.
        """
        if norm is None or not self.batch_norm:
            shift, scale, weights = -centre[self.columns], None, self.weights
        else:
            shift, scale = (each[self.columns] for each in norm)
            weights = self.weights / scale
        return weights, self.biases - (weights @ shift).unsqueeze(1), shift, scale

    def step(
        self,
        features: Tensor,
        centre: Tensor,
        norm: tuple[Tensor, Tensor] | None,
        answer: Tensor,
        schedule: float,
    ) -> None:
        """One of SGD on features less ``centre`` ``(B, D)`` of classes ``(B,)``."""
        inputs, batch = features[:, self.columns], len(features)
        weights, biases, shift, scale = self.through(centre, norm)
        # Classes before samples: a softmax over few of them is many times as fast down columns.
        error = torch.addmm(biases, weights, inputs.t()).view(self.shape).softmax(1)
        answer = answer.expand(len(error), 1, batch)
        error.scatter_add_(1, answer, error.new_full((), -1.0).expand_as(answer))
        error = (error / batch).view(-1, batch)
        total = error.sum(1, keepdim=True)
        gradient = (error @ inputs).sub_(total * shift)
        if scale is not None:
            gradient /= scale
        gradient.addcmul_(self.decays, self.weights)
        if self.training.lars:
            gradient = _adapted(gradient, self.weights, self.shape, self.training.trust)
        self.speed.mul_(self.training.momentum).add_(gradient)
        self.bias_speed.mul_(self.training.momentum).add_(total)
        self.weights.addcmul_(self.rates, self.speed, value=-schedule)
        self.biases.addcmul_(self.rates, self.bias_speed, value=-schedule)


def _mean_and_scale(blocks: Iterable[Tensor], squares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and ``sqrt(variance + 1e-6)`` of all rows, ``(D,)`` each; their mean must be near zero.

    Args:
        blocks: ``(B, D)`` each.
        squares: a buffer as large as a block.
    """
    total = square = torch.zeros(squares.shape[1], dtype=torch.float64)
    count = 0
    for block in blocks:
        total = total + block.sum(dim=0)
        square = square + torch.square(block, out=squares[: len(block)]).sum(dim=0)
        count += len(block)
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)
    return mean.float(), (variance + 1e-6).sqrt().float()


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
