"""The order of samples if only some of them are learned from after a while."""

from typing import Any

from torch import Tensor

from selfsup.data.order import EpochOrder, shuffled
from selfsup.errors import UsageError


class KeptOrder(EpochOrder):
    """The order of samples of which fewer are kept from some epochs on: of (seed, epoch, the samples kept).

    An epoch has as many batches as before, so that schedules, checkpoints and the run's length stay what they
    are; of the samples kept it is several passes. Views are drawn by the number of the pass, counted through
    the run, which comes with each batch in the place of the epoch's.

    Attributes:
        kept: positions, ascending int64 ``(K,)``, by the epoch from which they are learned from, ascending.

    >>> import torch
    >>> order = KeptOrder(8, batch_size=2, seed=0)
    >>> order.keep(1, torch.tensor([3, 5]))
    >>> order.set_epoch(1)
    >>> [(number, sorted(indices)) for number, indices in order]
    [(1, [3, 5]), (2, [3, 5]), (3, [3, 5]), (4, [3, 5])]
    """

    def __init__(
        self, samples: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        super().__init__(samples, batch_size, seed, rank, world, skip)
        self.kept: dict[int, Tensor] = {}

    def keep(self, epoch: int, positions: Tensor) -> None:
        """Learn from ``positions`` ``(K,)``, ascending, from ``epoch`` on; later choices are forgotten.

        Raises:
            ValueError: they are fewer than a batch.
        """
        if len(positions) < self.batch_size * self.world:
            raise ValueError(f"{len(positions)} samples are kept, fewer than a batch")
        earlier = {begin: each for begin, each in self.kept.items() if begin < epoch}
        self.kept = {**earlier, epoch: positions}

    def round(self, epoch: int, batch: int) -> int:
        begin, before, kept = self._since(epoch)
        return before + self._so_far(begin, epoch, batch) // self._batches(kept)

    def _since(self, epoch: int) -> tuple[int, int, Tensor | None]:
        """The epoch of the choice that holds at an epoch, the passes before it, and the samples kept."""
        since, passes, kept = 0, 0, None
        for begin, positions in self.kept.items():
            if begin <= epoch:
                passes -= -self._so_far(since, begin, 0) // self._batches(kept)  # a begun pass counts
                since, kept = begin, positions
        return since, passes, kept

    def _so_far(self, begin: int, epoch: int, batch: Any) -> Any:
        """Batches since the beginning of an epoch."""
        return (epoch - begin) * len(self) + batch

    def _batches(self, kept: Tensor | None) -> int:
        """Those of a pass."""
        return len(self) if kept is None else len(kept) // (self.batch_size * self.world)

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        begin, _, kept = self._since(epoch)
        if kept is None:
            return super()._places(epoch, batch, row)
        so_far, batches = self._so_far(begin, epoch, batch), self._batches(kept)
        position = so_far % batches * self.batch_size * self.world + row
        # Each pass is a permutation of its own, so that no batch holds a sample twice.
        return kept[shuffled(position, len(kept), self.seed, begin, lane=so_far // batches)]


def require_enough(samples: int, share: float, batch: int) -> None:
    """Raise a UsageError if a share of the samples is less than a batch of all processes."""
    if round(share * samples) < batch:
        raise UsageError(
            f"curation.share={share} of {samples} images is less than a batch ({batch}); take a larger "
            "share, or a smaller batch_size"
        )
