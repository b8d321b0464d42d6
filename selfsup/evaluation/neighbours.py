"""Exact nearest neighbours by cosine, and the votes they cast."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.errors import NoScore

QUERY_BLOCK, BANK_BLOCK = 512, 16384
GROUP = 8  # columns of which the largest is looked at first


def knn(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    classes: int | None = None,
) -> Tensor:
    """Votes of the k nearest neighbours, as in DINO's evaluation (Caron et al. 2021, arXiv:2104.14294).

    A neighbour with cosine similarity s votes for its class with weight ``exp(s / temperature)``; the
    votes of a query are normalised to sum to 1, which leaves their order as it is and keeps the
    exponential from overflowing. Computed in float32 whatever the input's precision.

    Args:
        bank: features ``(N, D)``.
        bank_labels: int64 ``(N,)``.
        queries: features ``(M, D)``.
        k: neighbours that vote.
        temperature: of the weights; 0.07 is DINO's, 0.1 that of older protocols.
        classes: number of classes C; default the largest label plus one.

    Returns:
        Votes ``(M, C)``; ``argmax(1)`` predicts.

    Raises:
        NoScore: k is more than the bank holds, or features are not finite.

    Example:
        >>> bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> knn(bank, torch.tensor([0, 0, 1]), torch.tensor([[1.0, 0.2]]), k=3).argmax(1)
        tensor([0])
    """
    return knn_each(bank, bank_labels, queries, [k], temperature, classes)[k]


def knn_each(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    ks: Sequence[int],
    temperature: float = 0.07,
    classes: int | None = None,
) -> dict[int, Tensor]:
    """Votes ``(M, C)`` as of :func:`knn` for several numbers of neighbours, out of one search."""
    similarity, index = neighbours(bank, queries, max(ks))
    classes = classes or int(bank_labels.max()) + 1
    voted = bank_labels.to(index.device)[index]
    votes = {}
    for k in ks:
        weights = (similarity[:, :k] / temperature).softmax(dim=1)
        votes[k] = weights.new_zeros(len(queries), classes).scatter_add_(1, voted[:, :k], weights)
    return votes


@torch.inference_mode()
def neighbours(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most similar rows of ``bank`` ``(N, D)`` for each of ``queries`` ``(M, D)``.

    Exact, by cosine in float32. Works through blocks of the bank and of the queries, so that beyond the
    result there is memory for a block of similarities only, however large the bank.

    Returns:
        Similarities ``(M, k)``, descending, and int64 indices ``(M, k)`` into the bank.

    Raises:
        NoScore: k is not in 1..N, or features are not finite.
    """
    if not 1 <= k <= len(bank):
        raise NoScore(f"k={k} neighbours were asked of a bank of {len(bank)}; choose k from 1 to {len(bank)}")
    best = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float32)
    where = torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device)
    # One buffer for all products: on a CPU half the time of fresh ones goes into page faults.
    buffer = best.new_empty(min(QUERY_BLOCK, len(queries)) * min(BANK_BLOCK, len(bank)))
    for start in range(0, len(bank), BANK_BLOCK):
        keys = F.normalize(bank[start : start + BANK_BLOCK].to(best), dim=1).t()
        for first in range(0, len(queries), QUERY_BLOCK):
            block = slice(first, min(first + QUERY_BLOCK, len(queries)))
            rows = F.normalize(queries[block].to(best), dim=1)
            scores = buffer[: len(rows) * keys.shape[1]].view(len(rows), keys.shape[1])
            torch.mm(rows, keys, out=scores)
            found, column = _largest(scores, min(k, keys.shape[1]))
            merged, order = torch.cat([best[block], found], dim=1).topk(k, dim=1)
            best[block] = merged
            where[block] = torch.cat([where[block], column + start], dim=1).gather(1, order)
    # A similarity that is no number is taken for the largest, so that none is overlooked.
    if best.isnan().any():
        raise NoScore("the features are not finite")
    return best, where


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k, dim=1)`` of ``(M, N)``, in less than half the time where k is a small part of N.

    The k largest of a row lie in the k groups of columns with the largest maxima, so that only those
    have to be sorted. Column j is in group j modulo the number of groups; what is left over is looked at
    whole.
    """
    rows, width = scores.shape
    groups = width // GROUP
    if groups < 2 * k:
        return scores.topk(k, dim=1)
    whole = groups * GROUP
    largest = scores[:, :whole].unflatten(1, (GROUP, groups)).amax(dim=1)
    chosen = largest.topk(k, dim=1, sorted=False).indices
    steps = torch.arange(0, whole, groups, device=scores.device)
    rest = torch.arange(whole, width, device=scores.device).expand(rows, -1)
    columns = torch.cat([(chosen.unsqueeze(1) + steps.unsqueeze(1)).flatten(1), rest], dim=1)
    found, place = scores.gather(1, columns).topk(k, dim=1)
    return found, columns.gather(1, place)
