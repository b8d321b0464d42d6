"""A round of labelling: which images to ask for next, and where labels are wanting."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.draws import Draw
from selfsup.curation.kmeans import kmeans
from selfsup.curation.labelling import covering, k_centre, margins, pure_radius, typical, uncertain
from selfsup.errors import UsageError
from selfsup.evaluation.classifiers.fewshot import SINGLE, STRENGTHS, ridge
from selfsup.evaluation.classifiers.probes import logits

MOST_CLUSTERS = 500  # as TypiClust has it
CLASSES = 10  # of whose clusters ProbCover's balls are to be pure, before any label says how many there are


class Round(NamedTuple):
    """What to label next.

    Attributes:
        rows: int64 ``(count,)``, the first to ask first.
        assigned: int64 ``(N,)``, clusters of all samples, as many as there will be labels.
        margin: ``(N,)``, by how much the best class leads; None without labels of two classes.
    """

    rows: Tensor
    assigned: Tensor
    margin: Tensor | None


def next_round(
    x: Tensor,
    count: int,
    strategy: str,
    draw: Draw,
    labelled: Tensor | None = None,
    labels: Tensor | None = None,
) -> Round:
    """The ``count`` samples to label next.

    Args:
        x: features ``(N, D)``; their directions are compared.
        strategy: typical, covering, farthest or uncertain (:mod:`selfsup.curation.labelling`); the last by
            the few-shot classifier of the labels so far (:func:`probe`).
        draw: for k-means.
        labelled, labels: int64 ``(L,)``, positions and classes of earlier rounds.

    Raises:
        UsageError: fewer samples are left than asked for, or ``uncertain`` has no labels of two classes.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> len({row // 2 for row in next_round(x, 2, "typical", draws(0)).rows.tolist()})
        2
    """
    labelled = torch.zeros(0, dtype=torch.int64) if labelled is None else labelled
    left = len(x) - len(labelled)
    if count > left:
        raise UsageError(f"count={count} is more than the {left} images without a label; take {left} or less")
    unit = F.normalize(x, dim=1)
    clusters = kmeans(unit, min(len(labelled) + count, MOST_CLUSTERS, len(x)), draw)
    assigned = clusters.assigned
    classes = None if labels is None else len(labels.unique())
    margin = None
    if labels is not None and classes is not None and classes > 1:
        margin = margins(logits(unit, probe(unit[labelled], labels)).t())
    if strategy == "typical":
        rows = typical(unit, count, assigned, labelled)
    elif strategy == "covering":
        pseudo = kmeans(unit, min(max(classes or CLASSES, 2), len(x)), draw)
        rows = covering(unit, count, pure_radius(unit, pseudo.assigned), labelled)
    elif strategy == "farthest":
        rows = k_centre(unit, count, labelled=labelled)[0]
    elif margin is not None:
        rows = uncertain(margin, count, assigned, labelled)
    else:
        raise UsageError(
            "strategy=uncertain needs labels of two classes; label a round of strategy=typical first"
        )
    return Round(rows, assigned, margin)


def probe(x: Tensor, labels: Tensor) -> Tensor:
    """Weights of the few-shot classifier of ``x`` ``(L, D)``, a row for each class present, in order."""
    _, answer = labels.unique(return_inverse=True)
    several = int(answer.bincount().min()) > 1
    weights: Tensor = ridge(x, answer, STRENGTHS if several else (SINGLE,))[0]
    return weights


def wanting(found: Round, labelled: Tensor) -> list[tuple[int, int, int, float | None]]:
    """The clusters by how much they want labels: (cluster, samples, labels, mean margin).

    Those without a label come first, the largest before; then those of the smallest margin.
    """
    mask = torch.zeros(len(found.assigned), dtype=torch.bool)
    mask[labelled] = True
    rows = []
    for cluster in found.assigned.unique().tolist():
        inside = found.assigned == cluster
        margin = None if found.margin is None else float(found.margin[inside].mean())
        rows.append((cluster, int(inside.sum()), int((inside & mask).sum()), margin))
    return sorted(rows, key=lambda row: (row[2] > 0, -row[1] if not row[2] else (row[3] or 0.0)))
