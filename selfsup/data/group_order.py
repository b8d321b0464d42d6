"""Orders in which some rows of a batch belong together: repeated images, and pairs."""

import torch
from torch import Tensor

from selfsup.data.order import EpochOrder, shuffled
from selfsup.data.relations import PARTNER, Relation
from selfsup.errors import UsageError
from selfsup.views.draws import REPEAT, uniform


class GroupOrder(EpochOrder):
    """The order of groups of ``size`` rows that begin with the same sample.

    An epoch has as many batches as of single samples. A pass through the samples takes ``size`` epochs, each
    sample beginning one group of it; views are drawn by the number of the pass, which comes with each batch
    in the place of the epoch's.

    Args:
        size: rows of a group.

    Raises:
        UsageError: a batch is not made of whole groups.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        size: int,
        rank: int = 0,
        world: int = 1,
        skip: int = 0,
    ) -> None:
        super().__init__(samples, batch_size, seed, rank, world, skip)
        if batch_size % size:
            raise UsageError(
                f"a batch of {batch_size} images is not made of groups of {size}; take batch_size="
                f"{max(1, batch_size // size) * size}"
            )
        self.size = size
        self.groups = batch_size * world // size  # in a batch of all processes
        self.batches = samples // self.groups  # of a pass

    def round(self, epoch: int, batch: int) -> int:
        return (epoch * len(self) + batch) // self.batches

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        so_far = epoch * len(self) + batch
        passed, position = so_far // self.batches, so_far % self.batches * self.groups + row // self.size
        first = shuffled(position, self.samples, self.seed, 0, lane=passed)
        return self._member(first, row % self.size, passed, position)

    def _member(self, first: Tensor, member: Tensor, passed: Tensor, position: Tensor) -> Tensor:
        """A row of the group that begins with ``first``: a sample plus a multiple of ``REPEAT``.

        Args:
            first, member: samples, and which rows of their groups are asked for.
            passed, position: the pass, and the groups of it that came before.
        """
        raise NotImplementedError


class RepeatedOrder(GroupOrder):
    """Each sample ``size`` times in a batch, with other views (the view-batch model, arXiv:2503.18371).

    >>> order = RepeatedOrder(samples=6, batch_size=4, seed=0, size=2)
    >>> [[ticket % REPEAT for ticket in tickets] for _, tickets in order]
    [[4, 4, 1, 1]]
    """

    def _member(self, first: Tensor, member: Tensor, passed: Tensor, position: Tensor) -> Tensor:
        return first + REPEAT * member


class PairedOrder(GroupOrder):
    """Each sample beside another that belongs with it, so that every batch holds pairs.

    A sample without a partner is beside one of all samples at random.

    Args:
        relation: who belongs with whom.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, relation: Relation, world: int = 1) -> None:
        super().__init__(samples, batch_size, seed, 2, world=world)
        self.relation = relation

    def _member(self, first: Tensor, member: Tensor, passed: Tensor, position: Tensor) -> Tensor:
        one, other = uniform(self.seed, passed, first, PARTNER, 2).unbind(1)
        partner = self.relation.partner(first, one)
        anybody = (other.double() * self.samples).long()
        partner = torch.where(partner == first, anybody, partner)
        # What is a partner here may begin a group elsewhere in the batch, where its views are others.
        return torch.where(member == 0, first, partner + REPEAT * (1 + position % 2**20))
