"""Batches of a source, and the DataLoader that hands them over."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from selfsup.data.crops import read_crops
from selfsup.data.order import EpochOrder, Key
from selfsup.errors import UsageError
from selfsup.views import ViewPlan


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
        read, skipped = read_crops(self.source, indices, self.plan, epoch)
        if not read:
            raise UsageError(f"none of {len(indices)} images could be read, among them {skipped[0][0]}")
        substitutes = list(read)
        kept = [i if i in read else substitutes[n % len(substitutes)] for n, i in enumerate(indices)]
        views = [torch.stack(view) for view in zip(*(read[i] for i in kept), strict=True)]
        return views, torch.tensor(kept), skipped


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
