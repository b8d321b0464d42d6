"""Exact nearest neighbours by cosine, and the votes they cast."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.errors import NoScore

QUERY_BLOCK, BANK_BLOCK = 512, 16384
RUN = 64  # rows of the bank that stay side by side
GROUP = 8  # columns of which the largest is looked at first
CROWDED = 0.25  # share of the groups from which sorting all columns is the cheaper way


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
    result there is memory for a block of similarities only, however large the bank. Of most blocks few
    similarities are above the k-th best so far, and only these are looked at one by one.

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
    buffer = best.new_empty(min(QUERY_BLOCK, len(queries)) * (min(BANK_BLOCK, len(bank)) + GROUP))
    for place in _spread(len(bank)).split(BANK_BLOCK):
        keys = _unit(bank[place.to(bank.device)].to(best)).t()
        place = place.to(queries.device)
        # Columns up to a multiple of GROUP, those past the keys at minus infinity.
        width = -(-len(place) // GROUP) * GROUP
        place = F.pad(place, (0, width - len(place)))
        for first in range(0, len(queries), QUERY_BLOCK):
            block = slice(first, min(first + QUERY_BLOCK, len(queries)))
            rows = _unit(queries[block].to(best))
            scores = buffer[: len(rows) * width].view(len(rows), width)
            torch.mm(rows, keys, out=scores[:, : keys.shape[1]])
            scores[:, keys.shape[1] :] = -torch.inf
            found, column = _above(scores, best[block].amin(dim=1), min(k, width))
            merged, order = torch.cat([best[block], found], dim=1).topk(k, dim=1, sorted=False)
            best[block] = merged
            where[block] = torch.cat([where[block], place[column]], dim=1).gather(1, order)
    best, order = best.sort(dim=1, descending=True)
    return best, where.gather(1, order)


def _spread(samples: int) -> Tensor:
    """0..N-1 in an order whose every block of BANK_BLOCK has rows of all parts of a bank of N.

    Banks are often sorted by class. In that order the block with a query's own class would come late, and
    nearly all of it would be better than what was found before. Rows go in runs, which a disk reads at once.
    """
    runs = torch.arange(samples).split(RUN)
    blocks = -(-samples // BANK_BLOCK)
    return torch.cat([run for first in range(blocks) for run in runs[first::blocks]])


def _unit(features: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays."""
    lengths = features.norm(dim=1, keepdim=True)
    # A similarity that is no number would compare as small and be overlooked.
    if not lengths.isfinite().all():
        raise NoScore("the features are not finite, or beyond what float32 holds")
    return features / lengths.clamp(min=1e-12)


def _above(scores: Tensor, least: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of ``scores`` ``(M, N)`` those among a row's k largest that exceed its ``least`` ``(M,)``.

    Returns values ``(M, n)`` and columns ``(M, n)``, in no order, filled up with minus infinity; there may be
    some beside those that were asked for. Column j is in group j modulo the number of groups.
    """
    rows, width = scores.shape
    groups = width // GROUP
    largest = scores.unflatten(1, (GROUP, groups)).amax(dim=1)
    if groups >= k and not least.isfinite().all():
        # The k-th of the groups' largest is a bound as well: there are k scores that reach it.
        bound = largest.topk(k, dim=1, sorted=False).values.amin(dim=1)
        least = torch.maximum(least, bound.nextafter(torch.full_like(bound, -torch.inf)))
    row, group = (largest > least.unsqueeze(1)).nonzero(as_tuple=True)
    if torch.bincount(row, minlength=1).max() > CROWDED * groups:
        return scores.topk(k, dim=1, sorted=False)
    steps = torch.arange(0, width, groups, device=scores.device)
    value = scores.take((row * width + group).unsqueeze(1) + steps)
    chosen, step = (value > least[row].unsqueeze(1)).nonzero(as_tuple=True)
    row, column, value = row[chosen], group[chosen] + step * groups, value[chosen, step]
    count = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    found = scores.new_full((rows, int(count.max())), -torch.inf)
    columns = torch.zeros_like(found, dtype=torch.int64)
    found[row, place], columns[row, place] = value, column
    return found, columns
