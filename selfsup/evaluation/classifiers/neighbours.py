"""Exact nearest neighbours by cosine, and the votes they cast."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.classifiers.topk import GROUP, Rounded, above, products
from selfsup.evaluation.errors import NoScore
from selfsup.precision import multiplies_bf16

QUERY_BLOCK, BANK_BLOCK = 1024, 16384
RUN = 64  # rows of the bank that stay together


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
    votes of a query are normalised to sum to 1, which keeps their order and prevents overflow of the
    exponential. Computed in float32 for inputs of any precision.

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
    """Votes ``(M, C)`` as in :func:`knn` for several numbers of neighbours, from one search."""
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
    result memory holds only a block of similarities, however large the bank. In most blocks few similarities
    are above the k-th best so far, and only these are examined one by one. If the CPU multiplies bf16
    matrices faster, products in bf16 and a bound on their error find the candidates.

    Returns:
        Similarities ``(M, k)``, descending, and int64 indices ``(M, k)`` into the bank.

    Raises:
        NoScore: k is not in 1..N, or features are not finite.
    """
    if not 1 <= k <= len(bank):
        raise NoScore(
            f"k={k} is more than the bank's {len(bank)} samples or below 1; choose k from 1 to {len(bank)}"
        )
    best = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float32)
    where = torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device)
    rough = queries.device.type == "cpu" and multiplies_bf16()
    # One buffer for all products: on a CPU page faults take half the time of new ones.
    buffer = best.new_empty(min(QUERY_BLOCK, len(queries)) * (min(BANK_BLOCK, len(bank)) + GROUP))
    for place in _spread(len(bank)).split(BANK_BLOCK):
        keys = unit(bank[place.to(bank.device)].to(best))
        if rough:
            keys16 = Rounded.of(keys)
        place = F.pad(place.to(queries.device), (0, GROUP))  # columns past the keys, of minus infinity
        for first in range(0, len(queries), QUERY_BLOCK):
            block = slice(first, min(first + QUERY_BLOCK, len(queries)))
            rows, least = unit(queries[block].to(best)), best[block].amin(dim=1)
            found = keys16.above(rows, keys, least, k, buffer) if rough else None
            value, column = found or above(products(rows, keys.t(), buffer), least, k)
            merged, order = torch.cat([best[block], value], dim=1).topk(k, dim=1, sorted=False)
            best[block] = merged
            where[block] = torch.cat([where[block], place[column]], dim=1).gather(1, order)
    best, order = best.sort(dim=1, descending=True)
    return best, where.gather(1, order)


def _spread(samples: int) -> Tensor:
    """0..N-1 in an order whose every block of BANK_BLOCK has rows of all parts of a bank of N.

    Banks are often sorted by class. In that order the block with a query's own class would come late, and
    nearly all of it would be better than the neighbours found before. Rows stay in runs, which a disk reads
    in one go.
    """
    runs = torch.arange(samples).split(RUN)
    blocks = -(-samples // BANK_BLOCK)
    return torch.cat([run for first in range(blocks) for run in runs[first::blocks]])


def unit(features: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays."""
    lengths = features.norm(dim=1, keepdim=True)
    # A NaN similarity would compare as small and be overlooked.
    if not lengths.isfinite().all():
        raise NoScore("the features are not finite, or exceed the range of float32")
    return features / lengths.clamp(min=1e-12)
