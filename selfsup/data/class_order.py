"""The order of samples if each class comes equally often, as ``data.balanced=true`` asks for."""

from typing import Any

from torch import Tensor

from selfsup.data.order import EpochOrder, shuffled
from selfsup.errors import UsageError
from selfsup.views.draws import REPEAT


class ClassOrder(EpochOrder):
    """The order of samples of which each class comes equally often, however many there are of it.

    Every C places in a row hold each of the C classes once, in random order, so that a batch has as many of
    each, to within two. An epoch has as many batches as without balance: of a small class it is several
    passes, in each of which its samples have other views, of a large one a part that changes with the epoch.
    The passes of an epoch have one order, which ends and begins anew without a seam, so that a batch holds no
    sample twice, unless it has more places for a class than there are samples of it.

    Args:
        labels: ``(N,)`` int64, of which at least two differ.

    >>> import torch
    >>> order = ClassOrder(torch.tensor([0, 0, 0, 0, 1, 1]), batch_size=2, seed=0)
    >>> [sorted(int(draw % REPEAT > 3) for draw in draws) for _, draws in order]
    [[0, 1], [0, 1], [0, 1]]
    """

    def __init__(
        self, labels: Tensor, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        super().__init__(len(labels), batch_size, seed, rank, world, skip)
        sizes = labels.bincount()
        self.sizes = sizes[sizes > 0]
        self.members = labels.argsort(stable=True)  # those of a class behind one another

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        classes, position = len(self.sizes), batch * self.batch_size * self.world + row
        turn = position // classes  # how often each class came before
        kind = shuffled(position % classes, classes, self.seed, epoch, lane=turn)
        size = self.sizes[kind]
        # Lanes below 0 are of the samples, the others of the classes.
        place = shuffled(turn % size, size, self.seed, epoch, lane=-1 - kind)
        sample = self.members[(self.sizes.cumsum(0) - self.sizes)[kind] + place]
        return sample + REPEAT * (turn // size)


def class_order(source: Any, batch_size: int, seed: int, world: int) -> ClassOrder:
    """The order of a source whose classes are balanced.

    Raises:
        UsageError: the source is of shards, or a batch is larger than the data.
    """
    if getattr(source, "sizes", None) is not None:
        raise UsageError(
            "data.balanced=true takes images from all over the data, and shards are read from end to end; "
            "leave it out, or take data=folder or data=parquet"
        )
    return ClassOrder(source.labels, batch_size, seed, world=world)


def balance(source: Any) -> None:
    """Have each class of a source come equally often, and say so in its decisions.

    Raises:
        UsageError: there are no labels.
    """
    if source.labels is None:
        raise UsageError(
            "data.balanced=true takes each class equally often, and the training images have no labels; "
            "leave it out, or take images whose labels come with them, such as a folder of each class"
        )
    sizes = source.labels.bincount()
    sizes = sizes[sizes > 0]
    source.balanced = True
    source.decisions.order = (
        f"each of {len(sizes)} classes comes equally often, by the labels (data.balanced): they have "
        f"{int(sizes.min())} to {int(sizes.max())} images"
    )
