"""Images for an encoder: decoded, resized, cropped, in batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfsup.data import Source, UnreadableImage
from selfsup.data.workers import begin_worker
from selfsup.encoder.resizing import OURS, Resizing
from selfsup.sides import compact, sides

# Pixels a side, or height and width, for an encoder of ours; timm's preprocessing for others.
Fitting = int | list[int] | Resizing


def fitting(encoder: Any) -> Fitting:
    """How images are resized and cropped for an encoder: by its own preprocessing, if it has one."""
    return getattr(encoder, "resizing", None) or compact(encoder.input_size)


def side(to: Fitting) -> int:
    """Pixels a side of fitted images, of rectangles the height."""
    return sides(to.size if isinstance(to, Resizing) else to)[0]


def described(to: Fitting) -> dict[str, Any]:
    """How images are fitted, in timm's terms and in words."""
    if isinstance(to, Resizing):
        return {"image_size": to.size, "resize": to.words(), **to.record()}
    return {"image_size": to, "resize": "shorter side, bilinear, antialiased; centre crop", **OURS}


def fit(images: Tensor, to: Fitting) -> Tensor:
    """``(B, C, H, W)`` as ``(B, C, h, w)``.

    For an encoder of ours, given by numbers of pixels, images are resized, bilinear and antialiased, until
    they just cover these, and the centre is cropped. For one with its own preprocessing uint8 images become
    what timm makes of the same pictures (:class:`~selfsup.encoder.resizing.Resizing`), to the bit.
    """
    if isinstance(to, Resizing):
        return _as_timm(images, to)
    (height, width), (down, across) = images.shape[-2:], sides(to)
    # One side is filled, and the other is longer or as long.
    by, of = (down, height) if height * across <= width * down else (across, width)
    if by != of:
        shape = (max(down, round(height * by / of)), max(across, round(width * by / of)))
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (images.shape[-2] - down) // 2, (images.shape[-1] - across) // 2
    return images[..., top : top + down, left : left + across]


def _as_timm(images: Tensor, to: Resizing) -> Tensor:
    height, width = images.shape[-2:]
    down, across = sides(to.scaled)
    if to.crop_mode == "squash":
        shape = down, across
    elif to.crop_mode == "border":
        ratio = max(height / down, width / across)
        shape = max(1, round(height / ratio)), max(1, round(width / ratio))
    elif down == across:
        shorter = min(height, width)
        shape = height * down // shorter, width * down // shorter
    else:
        ratio = min(height / down, width / across)
        shape = round(height / ratio), round(width / ratio)
    resized = images if shape == (height, width) else _resized(images, shape, to.interpolation)
    return _centre(resized, sides(to.size), to.fill)


def _resized(images: Tensor, shape: tuple[int, int], interpolation: str) -> Tensor:
    # By Pillow, as timm does: torch's bicubic differs from it by 2 of 255 levels on photographs, but by 29
    # where black meets white, since it treats overshoot differently.
    method = Image.Resampling[interpolation.upper()]
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    resized = [torch.from_numpy(np.array(each.resize(shape[::-1], method))) for each in pictures]
    return torch.stack(resized).permute(0, 3, 1, 2).contiguous()


def _centre(images: Tensor, size: tuple[int, int], fill: tuple[int, ...]) -> Tensor:
    """The central pixels, height and width, padded with ``fill``."""
    missing = [max(0, side - length) for side, length in zip(size, images.shape[-2:], strict=True)]
    if any(missing):
        height, width = map(max, size, images.shape[-2:])
        whole = torch.tensor(fill, dtype=images.dtype).view(-1, 1, 1).repeat(len(images), 1, height, width)
        top, left = (each // 2 for each in missing)
        whole[..., top : top + images.shape[-2], left : left + images.shape[-1]] = images
        images = whole
    top, left = (round((length - side) / 2) for length, side in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def batches(
    source: Source,
    index: Tensor,
    to: Fitting,
    batch_size: int,
    workers: int = 0,
    skipped: list[tuple[str, str]] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples ``index`` ``(n,)``, in order: their indices ``(B,)`` and uint8 ``(B, 3, S, S)``, fitted.

    Unreadable images are left out, and their ``(name, reason)`` added to ``skipped``.
    """
    if source.images is not None:
        for block in index.split(batch_size):
            yield block, fit(source.images[block], to)
        return
    loader: DataLoader[Any] = DataLoader(
        _Fitted(source, to),
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

    def __init__(self, source: Source, to: Fitting):
        self.source, self.to = source, to

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[int, Tensor | tuple[str, str]]:
        try:
            return i, fit(self.source[i].unsqueeze(0), self.to)[0]
        except UnreadableImage as error:
            return i, (error.name, error.reason)
