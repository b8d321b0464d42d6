"""The order of samples if each class comes equally often, as ``data.balanced=true`` asks for."""

from typing import Any

from torch import Tensor

from selfsup.data.order import EpochOrder, shuffled
from selfsup.errors import UsageError


class ClassOrder(EpochOrder):
    """The order of samples of which each class comes equally often, however many there are of it.

    Every C places in a row hold each of the C classes once, in random order, so that a batch has as many of
    each, to within two. An epoch has as many batches as without balance: of a small class it is several
    passes, of a large one a part that changes with the epoch. Within an epoch the passes of a class have one
    order, which ends and begins anew without a seam, so that no batch holds a sample twice, unless the batch
    has more places for its class than there are samples of it; those have the same views.

    Views are drawn by the number of the batch, counted through the run, which comes with each batch in the
    place of the epoch's.

    Args:
        labels: ``(N,)`` int64, of which at least two differ.

    >>> order = ClassOrder(torch.tensor([0, 0, 0, 0, 1, 1]), batch_size=2, seed=0)
    >>> [sorted(int(index > 3) for index in indices) for _, indices in order]
    [[0, 1], [0, 1], [0, 1]]
    """

    def __init__(
        self, labels: Tensor, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        super().__init__(len(labels), batch_size, seed, rank, world, skip)
        sizes = labels.bincount()
        self.sizes = sizes[sizes > 0]
        self.members = labels.argsort(stable=True)  # those of a class behind one another

    def round(self, epoch: int, batch: int) -> int:
        return epoch * len(self) + batch

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        classes, position = len(self.sizes), batch * self.batch_size * self.world + row
        turn = position // classes  # how often each class came before
        kind = shuffled(position % classes, classes, self.seed, epoch, lane=turn)
        size = self.sizes[kind]
        # Lanes below 0 are of the samples, the others of the classes.
        place = shuffled(turn % size, size, self.seed, epoch, lane=-1 - kind)
        return self.members[(self.sizes.cumsum(0) - self.sizes)[kind] + place]


def class_order(source: Any, batch_size: int, seed: int, world: int, share: float | None) -> ClassOrder:
    """The order of a source whose classes are balanced.

    Args:
        share: of the images that are kept after a while, which has to be None.

    Raises:
        UsageError: another order is asked for as well, or a batch is larger than the data.
    """
    others = {"curation=balanced": share is not None, "data=stages": bool(source.stages)}
    for other, asked in others.items():
        if asked:
            raise UsageError(f"data.balanced=true and {other} both order the images; leave one of them out")
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
