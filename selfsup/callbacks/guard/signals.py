"""The guard's signals: numbers that tell a collapsed representation from a healthy one, without labels."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.label_free.spectra import rankme

# What is written to `metrics.csv` as guard/NAME, and what it is. `embedding` is what the objective compares
# (after projector or predictor), `backbone` the pooled features of the encoder that is handed over.
SIGNALS = {
    "embedding_std": "std x sqrt(D) of the embeddings, each divided by its length: 1 isotropic, 0 collapsed",
    "embedding_cosine": "mean cosine of the embeddings of two different images",
    "embedding_rankme": "effective rank of the embeddings",
    "embedding_rankme_centred": "effective rank of the embeddings less their mean",
    "embedding_scale": "mean standard deviation of the embeddings' dimensions as they are",
    "backbone_std": "as embedding_std, of the backbone's features",
    "backbone_cosine": "as embedding_cosine, of the backbone's features",
    "backbone_rankme": "effective rank of the backbone's features",
    "backbone_rankme_centred": "effective rank of the backbone's features less their mean",
    "teacher_entropy": "mean entropy of the teacher's outputs, as a share of log K",
    "teacher_prototypes": "exp of the entropy of the mean output: how many of the K prototypes are in use",
    "teacher_divergence": "mean Kullback-Leibler divergence of the student's outputs from the teacher's",
    "teacher_lag": "distance of the teacher's weights from the student's, in steps of the student",
    "target_std": "std over images of the teacher's tokens, before the objective normalises them",
    "context_gain": "how much the loss rises when each image's context is another image's, as a share of it",
    "input_norm": "norm of the predictor's input layer, which also scales the noise of positions (StoP)",
    "one_colour": "error of what is painted in, as a share of that of the batch's median everywhere",
    "views_difference": "mean squared difference of an image's two views, as a share of that of two images",
    "loss": "mean loss since the guard last looked",
    "loss_trivial": "that loss as a share of what it is worth where nothing is learned",
    "loss_floor": "that loss as a share of the least it can be",
    "gradient": "norm of all gradients together, before any clipping",
    "gradient_jump": "that norm as a multiple of its median at earlier looks",
    "update": "length of a step of the encoder's weights, as a share of theirs: of the step just made or, if "
    "that is more, of the mean step that growing since the last look as they did must have taken",
}


def measure(seen: Mapping[str, Tensor]) -> dict[str, float]:
    """Signals of what a method lets the guard see (:meth:`selfsup.methods.base.Method.observe`).

    Args:
        seen: any of ``embedding`` and ``backbone`` ``(N, D)``; ``teacher`` and ``student``, probabilities
            ``(N, K)``; and scalars, which are passed on under their names.

    Returns:
        The signals that can be computed; not-a-number where a tensor is not finite or all zero.

    >>> measure({"embedding": torch.eye(4)})["embedding_cosine"]
    0.0
    """
    found: dict[str, float] = {}
    for name in ("embedding", "backbone"):
        if name in seen:
            z = seen[name].float()
            found |= {f"{name}_{signal}": function(z) for signal, function in _OF_FEATURES.items()}
    if "embedding" in seen:
        found["embedding_scale"] = float(seen["embedding"].float().std(dim=0).mean())
    if "teacher" in seen:
        teacher = seen["teacher"].float()
        found["teacher_entropy"] = float(_entropy(teacher).mean() / torch.tensor(teacher.shape[1]).log())
        found["teacher_prototypes"] = float(_entropy(teacher.mean(dim=0)).exp())
        if "student" in seen:
            cross = -torch.xlogy(teacher, seen["student"].float().clamp(min=1e-30)).sum(dim=1)
            found["teacher_divergence"] = float((cross - _entropy(teacher)).mean())
    return found | {name: float(value) for name, value in seen.items() if value.ndim == 0}


def std(z: Tensor) -> float:
    """sqrt(D) times the mean over dimensions of the standard deviation of ``z / |z|``, z ``(N, D)``.

    1 for an isotropic distribution, 0 where all rows point the same way.

    >>> std(torch.ones(5, 3))
    0.0
    """
    return float(F.normalize(z, dim=1).std(dim=0).mean() * z.shape[1] ** 0.5)


def cosine(z: Tensor) -> float:
    """Mean cosine of two different rows of z ``(N, D)``: ``(|sum_i u_i|^2 - N) / (N (N - 1))``, u = z / |z|.

    >>> cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))  # one pair of three is parallel
    0.3333333432674408
    """
    u = F.normalize(z, dim=1)
    n = len(z)
    return float((u.sum(dim=0).square().sum() - u.square().sum()) / (n * (n - 1)))


def rank(z: Tensor, centre: bool = False) -> float:
    """:func:`~selfsup.evaluation.rankme` of z ``(N, D)``; not-a-number where there is none.

    Constant features with a little noise have a rank of 1 as they are and a full one centred: read both.
    """
    try:
        return rankme(z.cpu(), centre)
    except NoScore:
        return float("nan")


def difference(one: Tensor, other: Tensor) -> float:
    """Mean squared difference of two views of each image, as a share of that of two images.

    0 where the views are the same picture, about 1 where they have no more in common than two images.

    Args:
        one, other: ``(N, ...)``, two views of N images.
    """
    apart = (one - other).square().mean()
    # Of two independent draws, the mean squared difference is twice the variance.
    return float(apart / (2 * one.var(dim=0).mean()).clamp(min=1e-12))


def ratio(value: float, unit: float) -> float:
    """``value / unit``; not-a-number, which breaks no bound, where the unit is 0.

    >>> ratio(3.0, 2.0), ratio(3.0, 0.0)
    (1.5, nan)
    """
    return value / unit if unit else math.nan


def _entropy(p: Tensor) -> Tensor:
    """Entropy in nats of the probabilities along the last axis."""
    return -torch.xlogy(p, p).sum(dim=-1)


_OF_FEATURES: dict[str, Callable[[Tensor], float]] = {
    "std": std,
    "cosine": cosine,
    "rankme": rank,
    "rankme_centred": lambda z: rank(z, centre=True),
}
