"""What a choice of samples kept and dropped, in groups that a person can look at."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Group:
    """Samples that belong together: a cluster, copies of one image.

    Attributes:
        title: what they have in common.
        kept, dropped: int64 positions.
    """

    title: str
    kept: Tensor
    dropped: Tensor


@dataclass
class Choice:
    """The result of a choice.

    Attributes:
        kept: int64, ascending positions among the samples to choose from.
        lines: what was decided, sentences.
        groups: for the page, those with most dropped first.
    """

    kept: Tensor
    lines: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def by_cluster(assigned: Tensor, kept: Tensor, called: str = "cluster") -> list[Group]:
    """A group for each cluster with a member, the one that lost most first.

    Args:
        assigned: int64 ``(N,)``, the cluster of each sample.
        kept: int64 positions.

    >>> [group.title for group in by_cluster(torch.tensor([0, 0, 1]), torch.tensor([0, 2]))]
    ['cluster 1: 1 of 2 kept', 'cluster 2: 1 of 1 kept']
    """
    mask = torch.zeros(len(assigned), dtype=torch.bool)
    mask[kept] = True
    found = []
    for number, members in zip(assigned.unique().tolist(), together(assigned), strict=True):
        own, lost = members[mask[members]], members[~mask[members]]
        title = f"{called} {number + 1}: {len(own):,} of {len(members):,} kept"
        found.append(Group(title, own, lost))
    return sorted(found, key=lambda group: -len(group.dropped))


def together(assigned: Tensor, least: int = 1) -> list[Tensor]:
    """The positions with each value, ascending, of values that ``least`` positions have.

    >>> together(torch.tensor([7, 3, 7]), least=2)
    [tensor([0, 2])]
    """
    _, place, counts = assigned.unique(return_inverse=True, return_counts=True)
    rows = (counts[place] >= least).nonzero().flatten()
    order = rows[place[rows].argsort(stable=True)]
    return list(order.split(counts[counts >= least].tolist()))
