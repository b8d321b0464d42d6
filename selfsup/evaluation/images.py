"""Images as an encoder is to see them: decoded, resized, cropped, in batches."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfsup.data import Source, UnreadableImage
from selfsup.data.workers import begin_worker


def fit(images: Tensor, size: int) -> Tensor:
    """``(B, 3, H, W)`` as ``(B, 3, size, size)``: the shorter side resized, the centre cropped.

    Bilinear and antialiased, as the preprocessing that a saved encoder states for timm.
    """
    height, width = images.shape[-2:]
    shorter = min(height, width)
    if shorter != size:
        shape = (max(size, round(height * size / shorter)), max(size, round(width * size / shorter)))
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def batches(
    source: Source,
    index: Tensor,
    size: int,
    batch_size: int,
    workers: int = 0,
    skipped: list[tuple[str, str]] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples ``index`` ``(n,)``, in order: their indices ``(B,)`` and uint8 ``(B, 3, size, size)``.

    Images that cannot be read are left out, and their ``(name, reason)`` added to ``skipped``.
    """
    if source.images is not None:
        for block in index.split(batch_size):
            yield block, fit(source.images[block], size)
        return
    loader: DataLoader[Any] = DataLoader(
        _Fitted(source, size),
        batch_size=batch_size,
        sampler=index.tolist(),
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=begin_worker,
    )
    for batch in loader:
        if skipped is not None:
            skipped += [image for _, image in batch if isinstance(image, tuple)]
        readable = [(i, image) for i, image in batch if isinstance(image, Tensor)]
        if readable:
            yield torch.tensor([i for i, _ in readable]), torch.stack([image for _, image in readable])


class _Fitted(Dataset[tuple[int, Tensor | tuple[str, str]]]):
    """Sample i as (i, fitted image), or (i, (name, reason)) if it cannot be read."""

    def __init__(self, source: Source, size: int):
        self.source, self.size = source, size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[int, Tensor | tuple[str, str]]:
        try:
            return i, fit(self.source[i].unsqueeze(0), self.size)[0]
        except UnreadableImage as error:
            return i, (error.name, error.reason)
