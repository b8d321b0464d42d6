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
Fitting = int | tuple[int, int] | Resizing


def fitting(encoder: Any) -> Fitting:
    """How images are resized and cropped for an encoder: by its own preprocessing, if it has one."""
    height, width = sides(encoder.input_size)
    return getattr(encoder, "resizing", None) or (height if height == width else (height, width))


def sides_of(to: Fitting) -> tuple[int, int]:
    """Height and width of fitted images."""
    return sides(to.size if isinstance(to, Resizing) else to)


def described(to: Fitting) -> dict[str, Any]:
    """How images are fitted, in timm's terms and in words."""
    size = compact(sides_of(to))
    if isinstance(to, Resizing):
        return {"image_size": size, "resize": to.words(), **to.record()}
    shorter = "shorter side" if isinstance(size, int) else "scaled until both sides are covered"
    return {"image_size": size, "resize": f"{shorter}, bilinear, antialiased; centre crop", **OURS}


def fit(images: Tensor, to: Fitting) -> Tensor:
    """``(B, C, H, W)`` as ``(B, C, h, w)``.

    For an encoder of ours, given by a number of pixels, the shorter side is resized, bilinear and
    antialiased, and the centre cropped; for a height and a width, images are scaled until they just cover
    both. For one with its own preprocessing uint8 images become what timm makes of the same pictures
    (:class:`~selfsup.encoder.resizing.Resizing`), to the bit.
    """
    if isinstance(to, Resizing):
        return _as_timm(images, to)
    (height, width), (tall, wide) = images.shape[-2:], sides(to)
    # The side that is scaled the most fits exactly, and the other is cropped.
    side, pixels = (height, tall) if tall * width >= wide * height else (width, wide)
    shape = max(tall, round(height * pixels / side)), max(wide, round(width * pixels / side))
    if shape != (height, width):
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (images.shape[-2] - tall) // 2, (images.shape[-1] - wide) // 2
    return images[..., top : top + tall, left : left + wide]


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
    n, channels = images.shape[:2]
    flat = images.permute(0, 2, 3, 1) if channels == 3 else images.flatten(0, 1)  # else a channel at a time
    resized = [Image.fromarray(each.numpy()).resize(shape[::-1], method) for each in flat.contiguous()]
    whole = torch.from_numpy(np.stack([np.asarray(each) for each in resized]))
    whole = whole.permute(0, 3, 1, 2) if channels == 3 else whole.view(n, channels, *shape)
    return whole.contiguous()


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
    """The samples ``index`` ``(n,)``, in order: their indices ``(B,)`` and uint8 ``(B, C, h, w)``, fitted.

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
