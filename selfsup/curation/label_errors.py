"""Labels that a sample's neighbours contradict: confident learning (Northcutt, Jiang and Chuang 2021)."""

from typing import NamedTuple

import torch
from torch import Tensor

CONFIDENT = 1e-6  # below its class's threshold, at which a sample still counts


class Contradicted(NamedTuple):
    """What neighbours say about labels.

    Attributes:
        quality: how much they agree, ``(p_y - max_{j != y} p_j + 1) / 2``, float32 ``(N,)`` in [0, 1].
        other: the label that most of them have, of equal ones the lowest, int64 ``(N,)``.
        flagged: bool ``(N,)``: samples to look at.
        joint: of given (rows) and supposed labels (columns), ``(C, C)``, summing to 1.
    """

    quality: Tensor
    other: Tensor
    flagged: Tensor
    joint: Tensor


def votes(labels: Tensor, index: Tensor, classes: int) -> Tensor:
    """The share of each label among a sample's neighbours, float64 ``(N, C)``.

    Args:
        labels: int64 ``(N,)``.
        index: of the neighbours ``(N, k)``, without the sample itself.

    >>> votes(torch.tensor([0, 1, 1]), torch.tensor([[1, 2], [0, 2], [0, 1]]), 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]
    """
    share = torch.full(index.shape, 1 / index.shape[1], dtype=torch.float64)
    return share.new_zeros(len(labels), classes).scatter_add_(1, labels[index], share)


def confident_counts(labels: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The confident joint, int64 ``(C, C)``, and the label a sample is confident for, or -1, ``(N,)``.

    A class's threshold t_j is the mean of p_j over its own samples. A sample is confident for j if
    p_j >= t_j; if for several classes, it counts for the largest p of all. On the diagonal at least 1.

    Args:
        labels: int64 ``(N,)``.
        p: probabilities ``(N, C)`` that come from other samples.
    """
    classes = p.shape[1]
    sizes = labels.bincount(minlength=classes)
    sums = p.new_zeros(classes).scatter_add_(0, labels, p.gather(1, labels[:, None])[:, 0])
    threshold = torch.where(sizes > 0, sums / sizes.clamp(min=1), torch.inf)
    above = p >= threshold - CONFIDENT
    number = above.sum(1)
    one = above.double().argmax(1)
    most = p.argmax(1)
    supposed = torch.where(number == 1, one, torch.where(number > 1, most, -1))
    sure = supposed >= 0
    counts = (labels[sure] * classes + supposed[sure]).bincount(minlength=classes**2).view(classes, classes)
    diagonal = counts.diagonal()
    diagonal.copy_(torch.where(sizes > 0, diagonal.clamp(min=1), diagonal))
    return counts, supposed


def calibrated(counts: Tensor, sizes: Tensor) -> Tensor:
    """The confident joint with rows that sum to the class sizes, int64 ``(C, C)``.

    Rounded down, and what is missing goes to the largest remainders of each row, of equal ones to the
    diagonal first.
    """
    rows = counts.double()
    exact = rows / rows.sum(1, keepdim=True).clamp(min=1) * sizes[:, None]
    whole = exact.floor().long()
    missing = sizes - whole.sum(1)
    rest = exact - whole + 1e-9 * torch.eye(len(sizes), dtype=torch.float64)
    rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return whole + (rank < missing[:, None]).long()


def contradicted(labels: Tensor, p: Tensor) -> Contradicted:
    """Which labels to look at, by noise rate.

    For each pair of classes s and j these are as many samples labelled s as the calibrated joint has, those with the largest ``p_j - p_s``, if another label has more votes than theirs.

    A hint and no verdict: a neighbourhood may be wrong about a sample that is labelled rightly.

    Args:
        labels: int64 ``(N,)`` in 0..C-1.
        p: probabilities ``(N, C)`` that come from other samples (:func:`votes`).
    """
    counts, _ = confident_counts(labels, p)
    sizes = labels.bincount(minlength=p.shape[1])
    joint = calibrated(counts, sizes)
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    for given, supposed in joint.nonzero().tolist():
        if given != supposed:
            own = (labels == given).nonzero().flatten()
            margin = (p[own, supposed] - p[own, given]).mul(1 / CONFIDENT).round()  # equal shares are ties
            chosen = margin.argsort(descending=True, stable=True)[: int(joint[given, supposed])]
            flagged[own[chosen]] = True
    of_label = p.gather(1, labels[:, None])[:, 0]
    others = p.scatter(1, labels[:, None], -1.0)
    flagged &= others.amax(1) > of_label + CONFIDENT
    quality = (of_label - others.amax(1).clamp(min=0) + 1) / 2
    return Contradicted(quality.float(), others.argmax(1), flagged, joint / joint.sum())
