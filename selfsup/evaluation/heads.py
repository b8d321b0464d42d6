"""Many linear classifiers trained at once on cached features."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 8192
STRETCH = 2**18  # values, 1 MB


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

    Those of inputs of the same columns are one batched product, and all see the same batches, in an order of
    ``seed``. The gradient is closed: with P the softmax of a batch's scores, ``(P - onehot)^T X / B``.

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
    spans = [range(x.shape[1])[each.columns] for each in inputs]
    together = [
        _Heads(
            span, [each for each, own in zip(inputs, spans, strict=True) if own == span], classes, grid, seed
        )
        for span in dict.fromkeys(spans)
    ]
    # One buffer for all batches: fresh ones cost a CPU more in page faults than what is done with them. It is
    # filled, centred and summed a stretch at a time, of a size that stays in the cache meanwhile.
    buffer = torch.empty(batch, x.shape[1])
    stretch = max(1, STRETCH // x.shape[1])
    batch_norm = any(each.batch_norm for each in inputs)
    centre = torch.zeros(x.shape[1])
    if batch_norm:
        centre = x[rows[:: max(1, len(rows) // batch)]].float().mean(dim=0)

    def gathered(some: Tensor) -> Iterator[Tensor]:
        """Stretches of features less what is near their mean, so that in sums of squares nothing cancels."""
        for part, place in zip(some.split(stretch), buffer.split(stretch), strict=False):
            yield torch.sub(x.index_select(0, part), centre, out=place[: len(part)])

    generator = torch.Generator().manual_seed(seed)
    order = rows[:0]
    for step in range(training.steps):
        if len(order) < batch:
            order = rows[torch.randperm(len(rows), generator=generator)]
        taken, order = order[:batch], order[batch:]
        blocks = gathered(taken)
        norm = _Norm(centre, *_mean_and_scale(blocks)) if batch_norm else None
        for _ in blocks:  # which fills the buffer where no mean has
            pass
        for heads in together:
            heads.step(buffer, y[taken], norm, training, training.schedule(step / training.steps))
    norm = None
    if batch_norm:
        mean, scale = _mean_and_scale(some for taken in rows.split(batch) for some in gathered(taken))
        norm = _Norm(torch.zeros_like(centre), centre + mean, scale)
    found = {
        (span, normed): weights
        for span, heads in zip(dict.fromkeys(spans), together, strict=True)
        for normed, weights in heads.by_input(norm).items()
    }
    return [found[span, each.batch_norm] for span, each in zip(spans, inputs, strict=True)]


class _Norm(NamedTuple):
    """How batch-normalised heads see features, of which ``centre`` is already taken off; ``(D,)`` each."""

    centre: Tensor
    mean: Tensor
    scale: Tensor


class _Heads:
    """Heads that see the same columns, with batch norm or without: H C rows for each of the inputs."""

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
        self.rows_normed = torch.tensor(self.normed).repeat_interleave(len(grid) * classes).unsqueeze(1)

    def lens(self, norm: _Norm) -> tuple[Tensor, Tensor]:
        """Each row's head sees ``(features - shift) / scale``."""
        centre, mean, scale = (each[self.columns] for each in norm)
        return torch.where(self.rows_normed, mean, -centre), torch.where(self.rows_normed, scale, 1.0)

    def through(self, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and biases that do to the features what the heads do to what they see."""
        weights = self.weights / scale
        return weights, self.biases - (weights * shift).sum(dim=1, keepdim=True)

    def by_input(self, norm: _Norm | None) -> dict[bool, Tensor]:
        """``(H, C, d + 1)`` by whether batch norm was worked in."""
        parts = (self.weights, self.biases) if norm is None else self.through(*self.lens(norm))
        found = torch.cat(parts, dim=1).view(len(self.normed), -1, self.shape[1], parts[0].shape[1] + 1)
        return dict(zip(self.normed, found.unbind(0), strict=True))

    def step(
        self, features: Tensor, answer: Tensor, norm: _Norm | None, training: Training, schedule: float
    ) -> None:
        """One of SGD on features ``(B, D)``, less their centre if there is a norm, of classes ``(B,)``."""
        inputs, batch = features[:, self.columns], len(features)
        weights, biases = self.weights, self.biases
        if norm is not None:
            shift, scale = self.lens(norm)
            weights, biases = self.through(shift, scale)
        # Classes before samples: a softmax over few of them is many times as fast down columns.
        error = torch.addmm(biases, weights, inputs.t()).view(self.shape).softmax(1)
        answer = answer.expand(len(error), 1, batch)
        error.scatter_add_(1, answer, error.new_full((), -1.0).expand_as(answer))
        error = (error / batch).view(-1, batch)
        total = error.sum(1, keepdim=True)
        gradient = error @ inputs
        if norm is not None:
            gradient = (gradient - total * shift) / scale
        gradient.addcmul_(self.decays, self.weights)
        if training.lars:
            gradient = _adapted(gradient, self.weights, self.shape, training.trust)
        self.speed.mul_(training.momentum).add_(gradient)
        self.bias_speed.mul_(training.momentum).add_(total)
        self.weights.addcmul_(self.rates, self.speed, value=-schedule)
        self.biases.addcmul_(self.rates, self.bias_speed, value=-schedule)


def _mean_and_scale(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and ``sqrt(variance + 1e-6)`` ``(D,)`` of all rows of blocks ``(n, D)``; it must be near zero."""
    total = square = torch.zeros((), dtype=torch.float64)
    count = 0
    for block in blocks:
        total = total + block.sum(dim=0).double()
        square = square + block.square().sum(dim=0).double()
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
