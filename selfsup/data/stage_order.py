"""Data sets that are learned from one after another: their places in a source, and their order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from selfsup.data.order import EpochOrder, shuffled
from selfsup.errors import UsageError


@dataclass(frozen=True)
class Stage:
    """The images of one data set among those of all.

    Attributes:
        name: of the data set.
        start, size: its images are ``start`` to ``start + size``.
        epochs: of the run in which they are learned from; the last stage goes on until the run ends.
    """

    name: str
    start: int
    size: int
    epochs: int

    @property
    def rows(self) -> Tensor:
        """Positions of its images ``(size,)``."""
        return torch.arange(self.start, self.start + self.size)


def among(stages: Sequence[Stage], kept: Tensor) -> list[Stage]:
    """The stages once only the images at the positions ``kept`` ``(K,)``, ascending, are left.

    >>> among([Stage("a", 0, 3, 1), Stage("b", 3, 2, 1)], torch.tensor([0, 2, 3]))[1]
    Stage(name='b', start=2, size=1, epochs=1)
    """
    places = [int((kept < stage.start + stage.size).sum()) for stage in stages]
    return [
        replace(stage, start=start, size=end - start)
        for stage, start, end in zip(stages, [0, *places], places, strict=False)
    ]


class StageOrder(EpochOrder):
    """The order of samples that are learned from one data set after another.

    Every epoch has as many batches as the largest data set gives, so that an epoch costs the same in each
    stage; of a smaller one it is several passes. Views are drawn by the number of the pass, which comes with
    each batch in the place of the epoch's.

    Args:
        stages: in the order in which they are learned from.

    Raises:
        UsageError: a batch is larger than one of the data sets.

    >>> order = StageOrder([Stage("a", 0, 4, 1), Stage("b", 4, 2, 1)], batch_size=2, seed=0)
    >>> seen = {}
    >>> for seen[order.epoch] in (list(order), order.set_epoch(1), list(order)): pass
    >>> [(number, sorted(indices)) for number, indices in seen[1]]
    [(0, [4, 5]), (1, [4, 5])]
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        skip: int = 0,
    ) -> None:
        least = min(stages, key=lambda stage: stage.size)
        if batch_size * world > least.size:
            raise UsageError(
                f"a batch of {batch_size * world} images is larger than stage '{least.name}' ({least.size} "
                f"images); set batch_size={max(1, least.size // world)} or less"
            )
        super().__init__(max(stage.size for stage in stages), batch_size, seed, rank, world, skip)
        self.stages = list(stages)

    def stage(self, epoch: int) -> int:
        """The number of the stage that an epoch belongs to."""
        ends = torch.tensor([stage.epochs for stage in self.stages[:-1]]).cumsum(0)
        return int((ends <= epoch).sum())

    def round(self, epoch: int, batch: int) -> int:
        stage = self.stage(epoch)
        return self._so_far(stage, epoch, batch) // self._batches(stage)

    def _so_far(self, stage: int, epoch: int, batch: Any) -> Any:
        """Batches of the stage before this one."""
        return (epoch - sum(each.epochs for each in self.stages[:stage])) * len(self) + batch

    def _batches(self, stage: int) -> int:
        return self.stages[stage].size // (self.batch_size * self.world)

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        number = self.stage(epoch)
        stage, batches = self.stages[number], self._batches(number)
        so_far = self._so_far(number, epoch, batch)
        position = so_far % batches * self.batch_size * self.world + row
        # Each pass is a permutation of its own, so that no batch holds an image twice.
        place = shuffled(position, stage.size, self.seed, number, lane=so_far // batches)
        return stage.start + place


def require_all(order: EpochOrder, batches: int) -> None:
    """Raise a UsageError if a run of so many batches ends before the last stage begins."""
    if not isinstance(order, StageOrder):
        return
    first = sum(stage.epochs for stage in order.stages[:-1])
    if batches <= first * len(order):
        whole = first + order.stages[-1].epochs
        raise UsageError(
            f"the run ends before its last stage, '{order.stages[-1].name}', begins in epoch {first + 1}; "
            f"set trainer.max_epochs={whole}, an epoch being {len(order)} batches"
        )
