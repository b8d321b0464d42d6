"""Many linear classifiers trained at once on cached features."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.cores import look

BLOCK = 8192


class Training(NamedTuple):
    """How heads are trained.

    Attributes:
        steps: of the optimizer.
        batch: samples a step, about: they are dealt into equal batches of nearly that size.
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
    """The input of some heads.

    Attributes:
        columns: of the features.
        batch_norm: normalise each batch without learned scale, and in evaluation by all training samples.
    """

    columns: slice = slice(None)
    batch_norm: bool = False


def cosine(share: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * share))


@torch.no_grad()
def train_heads(
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    classes: int,
    inputs: Sequence[Input],
    grid: Sequence[tuple[float, float]],
    training: Training,
    seed: int = 0,
) -> list[Tensor]:
    """Linear softmax classifiers by SGD, one for each input and (rate, decay) of ``grid``.

    Those of inputs of the same columns are one batched product. All see the same batches, dealt once by
    ``seed`` and used in another order each epoch, so that batch norm's statistics of each are known in
    advance. The gradient has a closed form: with P the softmax of a batch's scores, ``(P - onehot)^T X / B``.

    Args:
        x: features ``(N, D)``.
        y: int64 ``(N,)`` in 0..classes-1.
        rows: int64 ``(n,)``, the samples to train on.
        classes: C.
        grid: of H heads.

    Returns:
        For each input ``(H, C, d + 1)``, of its columns: weights and, in the last column, biases, for
        unnormalised features: batch norm is folded in.
    """
    spans = [range(x.shape[1])[each.columns] for each in inputs]
    together = [
        _Heads(
            span, [each for each, own in zip(inputs, spans, strict=True) if own == span], classes, grid, seed
        )
        for span in dict.fromkeys(spans)
    ]
    generator = torch.Generator().manual_seed(seed)
    batches = deal(rows, training.batch, generator)
    # One buffer for all batches: on a CPU new ones cost more in page faults than the computation.
    buffer = torch.empty(len(batches[0]), x.shape[1])

    def gathered(taken: Tensor) -> Tensor:
        place = buffer[: len(taken)]
        if x.dtype != place.dtype:
            return place.copy_(x.index_select(0, taken))
        return torch.index_select(x, 0, taken, out=place)

    norms: list[_Norm | None] = [None] * len(batches)
    whole = None
    if any(each.batch_norm for each in inputs):
        moments = [_moments(gathered(taken)) for taken in batches]
        norms = [_Norm.of(*each) for each in moments]
        whole = _Norm.of(*_pooled(moments, [len(taken) for taken in batches]))
    order: list[int] = []
    for step in range(training.steps):
        look()
        order = order or torch.randperm(len(batches), generator=generator).tolist()
        place = order.pop()
        features, answer = gathered(batches[place]), y[batches[place]]
        for heads in together:
            heads.step(features, answer, norms[place], training, training.schedule(step / training.steps))
    found = {
        (span, normed): weights
        for span, heads in zip(dict.fromkeys(spans), together, strict=True)
        for normed, weights in heads.by_input(whole).items()
    }
    return [found[span, each.batch_norm] for span, each in zip(spans, inputs, strict=True)]


def deal(rows: Tensor, batch: int, generator: torch.Generator) -> list[Tensor]:
    """``rows`` in random batches of about ``batch``, whose sizes differ by at most one, largest first.

    >>> [len(some) for some in deal(torch.arange(23), 6, torch.Generator())]
    [6, 6, 6, 5]
    """
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    # In the order of memory, which may be a file's.
    return [some.sort().values for some in shuffled.tensor_split(max(1, round(len(rows) / batch)))]


class _Norm(NamedTuple):
    """Batch norm's shift and scale of the features; ``(D,)`` each."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, mean: Tensor, variance: Tensor) -> "_Norm":
        return cls(mean.float(), (variance + 1e-6).rsqrt().float())


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(D,)`` of rows ``(n, D)``, in float64, also for features far from zero."""
    mean = x.mean(dim=0)
    away = x - mean
    rest = away.mean(dim=0).double()
    return mean.double() + rest, away.square_().mean(dim=0).double() - rest.square()


def _pooled(moments: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance of all rows, from those of parts and their counts."""
    means, variances = (torch.stack(each) for each in zip(*moments, strict=True))
    share = (torch.tensor(counts, dtype=torch.float64) / sum(counts)).unsqueeze(1)
    mean = (share * means).sum(dim=0)
    return mean, (share * (variances + (means - mean).square())).sum(dim=0)


class _Heads:
    """Heads that see the same columns, with batch norm or without: H C rows for each of the K inputs."""

    def __init__(
        self,
        span: range,
        inputs: Sequence[Input],
        classes: int,
        grid: Sequence[tuple[float, float]],
        seed: int,
    ) -> None:
        self.columns = slice(span.start, span.stop)
        self.normed = list(dict.fromkeys(each.batch_norm for each in inputs))
        self.shape = (len(self.normed) * len(grid), classes, -1)
        first = 0.01 * torch.randn(classes, len(span), generator=torch.Generator().manual_seed(seed))
        self.weights = first.repeat(self.shape[0], 1)
        self.biases = torch.zeros(len(self.weights), 1)
        self.speed, self.bias_speed = torch.zeros_like(self.weights), torch.zeros_like(self.biases)
        settings = torch.tensor(grid).repeat_interleave(classes, dim=0).repeat(len(self.normed), 1)
        self.rates, self.decays = settings.split(1, dim=1)

    def lens(self, norm: _Norm) -> tuple[Tensor, Tensor]:
        """Each input's shift and scale of the features, ``(K, 1, d)`` each."""
        mean, factor = (each[self.columns] for each in norm)
        normed = torch.tensor(self.normed).view(-1, 1, 1)
        return torch.where(normed, mean, 0.0), torch.where(normed, factor, 1.0)

    def apart(self, rows: Tensor) -> Tensor:
        """Rows ``(K H C, n)`` by input, ``(K, H C, n)``."""
        return rows.view(len(self.normed), -1, rows.shape[1])

    def through(self, mean: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and biases for the features that are equivalent to the heads on their inputs."""
        weights = self.apart(self.weights) * factor
        biases = torch.baddbmm(self.apart(self.biases), weights, mean.transpose(1, 2), alpha=-1)
        return weights.flatten(0, 1), biases.flatten(0, 1)

    def by_input(self, norm: _Norm | None) -> dict[bool, Tensor]:
        """``(H, C, d + 1)``, by whether batch norm was folded in."""
        parts = (self.weights, self.biases) if norm is None else self.through(*self.lens(norm))
        found = torch.cat(parts, dim=1).view(len(self.normed), -1, self.shape[1], parts[0].shape[1] + 1)
        return dict(zip(self.normed, found.unbind(0), strict=True))

    def step(
        self, features: Tensor, answer: Tensor, norm: _Norm | None, training: Training, schedule: float
    ) -> None:
        """A step of SGD on features ``(B, D)`` of classes ``(B,)``, and on normalised ones if an input needs
        them."""
        inputs, batch = features[:, self.columns], len(features)
        weights, biases = self.weights, self.biases
        lens = None if norm is None or not any(self.normed) else self.lens(norm)
        if lens is not None:
            weights, biases = self.through(*lens)
        # Classes before samples: a softmax over few of them is many times as fast down columns.
        error = torch.mm(weights, inputs.t()).add_(biases).view(self.shape).softmax(1)
        answer = answer.expand(len(error), 1, batch)
        error.scatter_add_(1, answer, error.new_full((), -1.0).expand_as(answer))
        error = error.view(-1, batch)
        total = error.sum(1, keepdim=True).div_(batch)
        gradient = torch.mm(error, inputs).div_(batch)
        if lens is not None:
            mean, factor = lens
            self.apart(gradient).baddbmm_(self.apart(total), mean, alpha=-1).mul_(factor)
        gradient.addcmul_(self.decays, self.weights)
        if training.lars:
            gradient = _adapted(gradient, self.weights, self.shape, training.trust)
        self.speed.mul_(training.momentum).add_(gradient)
        self.bias_speed.mul_(training.momentum).add_(total)
        self.weights.addcmul_(self.rates, self.speed, value=-schedule)
        self.biases.addcmul_(self.rates, self.bias_speed, value=-schedule)


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
