"""Which pairs of images to ask about: what follows from the answers so far, and what one would reveal."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.choice import together
from selfsup.curation.draws import Draw
from selfsup.curation.pairs import components
from selfsup.curation.rounds import next_round
from selfsup.errors import UsageError

PAIRS = 2**24  # that may follow from answers; a hundred thousand images of one kind have 5 billion


class Known(NamedTuple):
    """What answers say of 0..count-1.

    Attributes:
        group: int64 ``(count,)``, the lowest member of what answers of yes connect each one with.
        follow: int64 ``(P, 2)``, ascending, the pairs that belong together. In a group that an answer of no
            contradicts, those are the pairs with a yes; in all others, all pairs.
        contradicted: int64 ``(C, 2)``, pairs with a no inside a group.
    """

    group: Tensor
    follow: Tensor
    contradicted: Tensor


def known(ends: Tensor, same: Tensor, count: int, follow: bool = True) -> Known:
    """What follows from answers about pairs of 0..count-1: who belongs with mine belongs with me.

    Args:
        ends: int64 ``(E, 2)``.
        same: int64 ``(E,)``: 1 for yes, 0 for no, -1 for pairs without an answer.
        follow: whether to carry answers on; else only pairs with a yes belong together.

    Raises:
        UsageError: more than 2**24 pairs follow.

    >>> answers = torch.tensor([[0, 1], [1, 2], [3, 4]]), torch.tensor([1, 1, 0])
    >>> known(*answers, count=5).follow.tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    yes = ends[same == 1].sort(dim=1).values.unique(dim=0)
    group = components(yes[:, 0], yes[:, 1], count)
    no = ends[same == 0]
    contradicted = no[group[no[:, 0]] == group[no[:, 1]]]
    if not follow:
        return Known(group, yes, contradicted)
    wrong = torch.zeros(count, dtype=torch.bool)
    wrong[group[contradicted[:, 0]]] = True
    whole = [members for members in together(group, least=2) if not wrong[group[members[0]]]]
    if (number := sum(len(each) * (len(each) - 1) // 2 for each in whole)) > PAIRS:
        raise UsageError(f"{number:,} pairs would follow from the answers; take follow=false")
    pairs = [torch.combinations(members) for members in whole]
    return Known(group, torch.cat([yes[wrong[group[yes[:, 0]]]], *pairs]).unique(dim=0), contradicted)


def chance(similarity: Tensor, answered: Tensor, same: Tensor) -> Tensor:
    """How likely a yes is at each ``similarity`` ``(N,)``: logistic regression on the answers so far.

    Similarities are standardised, and both coefficients have a unit Gaussian prior, so that one answer
    decides little. The slope is above 0. Before there are answers it is ``(1 + similarity) / 2``.

    Args:
        answered: ``(A,)``, similarities of pairs with an answer.
        same: bool ``(A,)``.

    >>> answered, same = torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([False, False, True, True])
    >>> [round(each, 2) for each in chance(torch.tensor([0.0, 0.5, 1.0]), answered, same).tolist()]
    [0.19, 0.5, 0.81]
    """
    if not len(answered):
        return (1 + similarity) / 2
    mean, spread = answered.mean(), answered.std(correction=0).clamp(min=1e-3)
    rows = torch.stack([torch.ones_like(answered), (answered - mean) / spread], dim=1).double()
    weights, prior = rows.new_zeros(2), torch.eye(2).double()
    for _ in range(20):  # of Newton's method
        p = (rows @ weights).sigmoid()
        slope = rows.T @ (p - same.double()) + weights
        weights = weights - torch.linalg.solve((rows.T * (p * (1 - p))) @ rows + prior, slope)
    level, steepness = weights[0], weights[1].clamp(min=0.01)  # the more similar of equals comes first
    return (level + steepness * (similarity - mean) / spread).sigmoid()


def next_pairs(x: Tensor, count: int, draw: Draw, ends: Tensor, same: Tensor) -> Tensor:
    """The pairs to ask about next: those that are expected to reveal most pairs that belong together.

    A yes joins the groups A and B of two images and so reveals ``|A| |B|`` pairs; a pair is worth
    ``chance |A| |B|``. One of its images is a centre. Centres are the groups there are, each shown by its
    member nearest its mean, and where they are fewer than ``sqrt(count)``, typical images, one of each
    cluster (:func:`~selfsup.curation.labelling.typical`). No group is asked about more than ``sqrt(count)``
    times while there are others, which spreads the pairs over the data. A pair is left out if it was asked
    about, if its answer follows from others, or if it would follow from those chosen before, were they yes.

    Args:
        x: features ``(N, D)``, whose directions are compared.
        draw: for k-means.
        ends: int64 ``(E, 2)``, pairs that were asked about.
        same: int64 ``(E,)``: 1 for yes, 0 for no, -1 for pairs without an answer.

    Returns:
        int64 ``(count, 2)``, a centre and another image, those of one centre behind one another.

    Raises:
        UsageError: there are not so many pairs.

    Example:
        >>> from selfsup.curation.draws import draws
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> none = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        >>> next_pairs(x, 2, draws(0), *none).sort(dim=1).values.sort(dim=0).values.tolist()
        [[0, 1], [2, 3]]
    """
    unit, most = F.normalize(x.float(), dim=1), max(1, round(count**0.5))
    group = known(ends, same, len(x), follow=False).group
    size, shown_by = group.bincount(minlength=len(x)), torch.arange(len(x))
    for members in together(group, least=2):
        nearest = (unit[members] @ unit[members].mean(dim=0)).argmax()
        shown_by[group[members[0]]] = members[nearest]
    nodes, several = group.unique(), (size > 1).nonzero().flatten()
    centres = several[size[several].argsort(descending=True, stable=True)]
    asked = ends.unique()
    if (new := min(-(-count // most) - len(centres), len(x) - len(asked))) > 0:
        centres = torch.cat([centres, next_round(x, new, "typical", draw, asked).rows])
    told, between = same >= 0, group[ends]
    similarity = (unit[ends[told, 0]] * unit[ends[told, 1]]).sum(dim=1)
    found = []
    for centre in centres.tolist():
        likely = chance(unit[shown_by[nodes]] @ unit[shown_by[centre]], similarity, same[told] == 1)
        worth = likely * size[nodes] * size[centre]
        barred = torch.zeros(len(x), dtype=torch.bool)
        barred[centre] = True
        barred[between.flip(1)[between == centre]] = True
        worth[barred[nodes]] = 0
        best = worth.topk(min(count, len(nodes)))
        others = nodes[best.indices].tolist()
        found += [
            (gain, centre, other) for gain, other in zip(best.values.tolist(), others, strict=True) if gain
        ]
    chosen = _spread(sorted(found, key=lambda each: -each[0]), count, most)
    if len(chosen) < count:
        raise UsageError(
            f"count={count} is more than the {len(chosen)} pairs left to ask about, of which none follows "
            "from others; take fewer"
        )
    return shown_by[torch.tensor(chosen)]


def _spread(found: Sequence[tuple[float, int, int]], count: int, most: int) -> list[tuple[int, int]]:
    """The first ``count`` pairs that close no circle, those of one centre behind one another.

    No node has more than ``most`` of them, unless there are too few without.
    """
    joined: dict[int, set[int]] = {}
    times: Counter[int] = Counter()
    chosen: list[tuple[int, int]] = []
    for limit in (most, count):
        for _, one, other in found:
            mine, theirs = (joined.setdefault(each, {each}) for each in (one, other))
            if len(chosen) == count or mine is theirs or max(times[one], times[other]) >= limit:
                continue
            mine |= theirs
            joined.update(dict.fromkeys(theirs, mine))
            times.update((one, other))
            chosen.append((one, other))
    centres = {centre: place for place, (centre, _) in reversed(list(enumerate(chosen)))}
    return sorted(chosen, key=lambda pair: centres[pair[0]])
