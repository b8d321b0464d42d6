"""Linear classifiers on frozen features."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.classifiers.lbfgs import minimise
from selfsup.evaluation.errors import NoScore

STRENGTHS = tuple(10.0**power for power in range(1, -7, -1))
PATIENCE = 2


class Probe(NamedTuple):
    """What :func:`linear_probe` found.

    Attributes:
        predictions: int64 ``(M,)``, for the test features.
        strength: the chosen L2 strength.
        holdout: accuracy on the hold-out of the training split, by strength.
        samples: size of that hold-out.
    """

    predictions: Tensor
    strength: float
    holdout: dict[float, float]
    samples: int


def linear_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    strengths: Sequence[float] = STRENGTHS,
    holdout: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Multinomial logistic regression on standardised features, its strength chosen without the test set.

    The strength with the best accuracy on a stratified hold-out of the training split is chosen (the lower
    cross entropy in a tie), and the classifier is fitted again to the whole split; the leak-free protocol of
    DINOv2's logistic regression (Oquab et al. 2023, arXiv:2304.07193). Strengths are tried from strong to
    weak, until two in a row are worse than the best.

    Args:
        train: features ``(N, D)``.
        labels: int64 ``(N,)``. Classes without a sample are never predicted.
        test: features ``(M, D)``.
        strengths: to choose from, each the lambda of :func:`logistic`.
        holdout: share of each class held out to choose.
        seed: of the hold-out.

    Raises:
        NoScore: fewer than two classes, or no class with two samples.
    """
    present, target, held = split_labels(labels, holdout, seed, "a linear probe")
    fitted = len(target) - int(held.sum())
    order = held.int().argsort(stable=True)
    x, test = standardise(train[order], test)
    y = target[order]
    moment, classes = second_moment(x), len(present)
    weights, best, worse, accuracy = None, (-1.0, 0.0, 0.0), 0, {}
    # From strong to weak, each solution is a good start for the next.
    for strength in sorted(strengths, reverse=True):
        weights = logistic(x[:fitted], y[:fitted], classes, strength, weights, moment, tolerance=1e-6)
        scores = logits(x[fitted:], weights)
        accuracy[strength] = (scores.argmax(0) == y[fitted:]).double().mean().item()
        outcome = (accuracy[strength], -F.cross_entropy(scores.t(), y[fitted:]).item(), strength)
        worse, best = (0, outcome) if outcome > best else (worse + 1, best)
        # Overfitting only grows from here, and the weakest penalties are the slowest to fit.
        if worse == PATIENCE:
            break
    weights = logistic(x, y, classes, best[2], weights, moment)
    return Probe(present[logits(test, weights).argmax(0)], best[2], accuracy, len(y) - fitted)


def logistic(
    x: Tensor,
    y: Tensor,
    classes: int,
    strength: float,
    start: Tensor | None = None,
    moment: Tensor | None = None,
    steps: int = 200,
    tolerance: float = 1e-7,
) -> Tensor:
    """Weights of multinomial logistic regression, by L-BFGS on all samples at once.

    Minimises ``mean cross entropy + strength / 2 * ||W||²``; the bias is not penalised. scikit-learn's
    ``C`` is ``1 / (strength * N)``.

    Args:
        x: features ``(N, D)``, standardised, float32 or float64.
        y: int64 ``(N,)`` in 0..classes-1.
        classes: number of classes C.
        strength: of the L2 penalty.
        start: weights to begin with, as returned.
        moment: ``(D, D)``, as of :func:`second_moment`, where several fits share it.
        steps: most iterations.
        tolerance: stop where an iteration gains a smaller share of the objective.

    Returns:
        ``(C, D + 1)``: W and, in the last column, the bias.
    """
    # L-BFGS works in coordinates in which the Hessian at zero is the identity: correlated features would cost
    # hundreds of steps. They may also have fewer degrees of freedom than dimensions, and a product in float32
    # has noise of 1e-7 of its largest eigenvalue.
    hessian = (second_moment(x) if moment is None else moment).double() / classes
    hessian.diagonal().add_(strength + 1e-6 * hessian.trace())
    factor = torch.linalg.cholesky(hessian).to(x.dtype)
    answer = y.unsqueeze(0)

    def weights_at(theta: Tensor) -> Tensor:
        inner = torch.linalg.solve_triangular(factor, theta[:, :-1], upper=False, left=False)
        return torch.cat([inner, theta[:, -1:]], dim=1)

    def loss_and_gradient(theta: Tensor) -> tuple[float, Tensor]:
        weights = weights_at(theta)
        error = logits(x, weights).log_softmax(0)
        picked = error.gather(0, answer)
        loss = -picked.mean(dtype=torch.float64) + strength / 2 * weights[:, :-1].double().square().sum()
        error = error.exp_().scatter_add_(0, answer, -torch.ones_like(picked)).div_(len(x))
        gradient = error @ x + strength * weights[:, :-1]
        gradient = torch.linalg.solve_triangular(factor.t(), gradient, upper=True, left=False)
        return loss.item(), torch.cat([gradient, error.sum(1, keepdim=True)], dim=1)

    start = x.new_zeros(classes, x.shape[1] + 1) if start is None else start
    theta = torch.cat([start[:, :-1] @ factor, start[:, -1:]], dim=1)
    return weights_at(minimise(loss_and_gradient, theta, steps, value_tolerance=tolerance))


def second_moment(x: Tensor) -> Tensor:
    """``X^T X / N`` ``(D, D)`` of evenly spaced rows of ``x`` ``(N, D)``: a preconditioner may be rough."""
    rows = x[:: max(1, len(x) // max(4096, 2 * x.shape[1]))]
    return rows.t() @ rows / len(rows)


def logits(x: Tensor, weights: Tensor) -> Tensor:
    """``W x + b``, ``(C, N)``, for ``weights`` ``(C, D + 1)`` with b in the last column.

    Classes come first because a softmax over few of them is twenty times as fast down columns.
    """
    return torch.addmm(weights[:, -1:], weights[:, :-1], x.t())


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All inputs with the mean and deviation of ``train``; dimensions that do not vary there become 0."""
    mean = train.mean(dim=0)
    away = train - mean
    # Sums of squares by blocks: torch's std_mean takes ten times as long, and is no more exact.
    squares = sum((block.square().sum(dim=0).double() for block in away.split(4096)), mean.new_zeros(()))
    deviation = (squares / len(train)).sqrt().to(mean)
    # A constant dimension has the deviation of its rounding, which must not be scaled up to 1.
    varies = deviation > 1e-6 * mean.abs()
    scale = torch.where(varies, 1 / deviation.where(varies, torch.ones_like(deviation)), 0)
    return (away.mul_(scale), *((x - mean).mul_(scale) for x in others))


def spanned(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All inputs in coordinates of the span of ``train``, if it has fewer rows than dimensions.

    Inner products with rows of ``train`` stay as they are, and so does every classifier whose weights are a
    sum of such rows; decompositions get as small as there are samples.
    """
    if len(train) >= train.shape[1]:
        return train, *others
    values, vectors = torch.linalg.eigh(train.double() @ train.double().t())
    kept = values > 1e-9 * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
    turn = (train.double().t() @ vectors[:, kept] * values[kept].rsqrt()).to(train.dtype)
    return tuple(x @ turn for x in (train, *others))


def whiten(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All inputs standardised and turned so that dimensions of ``train`` are uncorrelated, of variance 1.

    ``x V (e + D/N mean(e))^-1/2`` with the eigenvectors V and eigenvalues e of the covariance. A linear
    classifier can express the same on both, but gradient descent needs far fewer steps, since no direction is
    flat. The added term keeps poorly estimated directions from being scaled up: with fewer samples than
    dimensions some do not vary at all in ``train``, but do in the others.
    """
    standard = spanned(*standardise(train, *others))
    width = standard[0].shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64)
    for block in standard[0].split(4096):
        gram += block.t() @ block
    values, vectors = torch.linalg.eigh(gram / len(train))
    scale = (values.clamp(min=0) + values.sum() / len(train)).rsqrt()
    turn = (vectors * scale).to(train.dtype)
    return tuple(x @ turn for x in standard)


def split_labels(labels: Tensor, holdout: float, seed: int, probe: str) -> tuple[Tensor, Tensor, Tensor]:
    """Classes that have a sample, each sample's place among them, and which samples are held out.

    Raises:
        NoScore: naming the probe, if there are fewer than two classes, or none with two samples.
    """
    present, target = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise NoScore(f"{probe} needs samples of at least two classes")
    held = stratified(target, holdout, seed)
    if not held.any():
        raise NoScore("no class has two training samples, so none can be held out")
    return present, target, held


def stratified(labels: Tensor, share: float, seed: int) -> Tensor:
    """A mask ``(N,)`` that holds out ``share`` of each class: at least one, unless it is the only one."""
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        held[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return held
