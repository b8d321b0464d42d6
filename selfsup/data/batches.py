"""Batches of a source, in an order that is a pure function of (seed, epoch).

So a run goes on in the middle of an epoch from the number of batches it has seen, and every process
knows its own slice without talking to the others.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import functional as F

from selfsup.data.source import UnreadableImage
from selfsup.errors import UsageError
from selfsup.views import ViewPlan

Key = tuple[int, list[int]]


class EpochOrder(Sampler[Key]):
    """Yields ``(epoch, indices)``, a batch at a time; the incomplete last batch of an epoch is dropped.

    Attributes:
        skip: batches of the first epoch that were seen before the run was interrupted.
    """

    def __init__(
        self, samples: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        if batch_size * world > samples:
            raise UsageError(
                f"a batch of {batch_size * world} images is larger than the data ({samples} images); "
                f"set batch_size={samples // world} or less"
            )
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.world, self.skip = rank, world, skip
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples // (self.batch_size * self.world)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.samples, generator=generator)
        whole = self.batch_size * self.world
        first, self.skip = self.skip, 0
        for batch in range(first, len(self)):
            start = batch * whole + self.rank * self.batch_size
            yield self.epoch, order[start : start + self.batch_size].tolist()


class Batches(Dataset[dict[str, Any]]):
    """Maps ``(epoch, indices)`` to a batch.

    Of a source in memory the batch holds whole images, uint8 ``(N, 3, H, W)``. Of files it holds
    crops, one uint8 ``(N, 3, size, size)`` a view: each image is decoded once for all its views.
    The place of an image that cannot be read is taken by another one of the batch, so that every
    process has as many; ``skipped`` names it.
    """

    def __init__(self, source: Any, plan: ViewPlan) -> None:
        self.source, self.plan = source, plan

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, indices = key
        if self.source.images is not None:
            index = torch.tensor(indices)
            batch: dict[str, Any] = {"image": self.source.images[index], "skipped": []}
        else:
            crops, index, skipped = self._read(epoch, indices)
            batch = {"image": crops, "skipped": skipped}
        if self.source.labels is not None:
            batch["label"] = self.source.labels[index]
        return {**batch, "index": index, "epoch": epoch}

    def _read(self, epoch: int, indices: list[int]) -> tuple[list[torch.Tensor], torch.Tensor, list[Any]]:
        read: dict[int, list[torch.Tensor]] = {}
        skipped = []
        for i in indices:
            try:
                read[i] = self._crops(self.source[i], i, epoch)
            except UnreadableImage as error:
                skipped.append((error.name, error.reason))
        if not read:
            raise UsageError(f"none of {len(indices)} images could be read, among them {skipped[0][0]}")
        substitutes = list(read)
        kept = [i if i in read else substitutes[n % len(substitutes)] for n, i in enumerate(indices)]
        views = [torch.stack(view) for view in zip(*(read[i] for i in kept), strict=True)]
        return views, torch.tensor(kept), skipped

    def _crops(self, image: torch.Tensor, i: int, epoch: int) -> list[torch.Tensor]:
        crops, index = [], torch.tensor([i])
        for number, size in enumerate(self.plan.sizes):
            box, mirror = self.plan.where(number, index, epoch, image.shape[1], image.shape[2])
            crop = F.resized_crop(image, *box[0].tolist(), size=[size, size], antialias=True)
            crops.append(crop.flip(-1) if mirror[0] else crop)
        return crops


def training_loader(source: Any, plan: ViewPlan, order: EpochOrder, workers: int) -> DataLoader[Any]:
    """The DataLoader of a run: in this process for a source in memory, in ``workers`` for files."""
    workers = 0 if source.images is not None else workers
    return DataLoader(
        Batches(source, plan),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
