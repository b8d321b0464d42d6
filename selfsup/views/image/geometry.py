"""Geometry of a view: random resized crops, mirroring and turns, with each sample's own box.

A crop, its antialiased resize and its mirroring are one linear map of the rows and one of the
columns, so a batch of differently cropped samples is two batched matrix products.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 3  # area and ratio of each attempt, the two offsets, the mirror


@dataclass(frozen=True)
class Attempts:
    """Random boxes of N views, for images of any size.

    Attributes:
        share: ``(N, ATTEMPTS)`` float64, areas as shares of the image.
        aspect: ``(N, ATTEMPTS)`` float64, widths over heights.
        offset: ``(N, 2)`` float64 in [0, 1), from the top and from the left.
        ratio: the range of the aspect.
    """

    share: Tensor
    aspect: Tensor
    offset: Tensor
    ratio: tuple[float, float]


def attempts(draws: Tensor, scale: tuple[float, float], ratio: tuple[float, float]) -> Attempts:
    """Areas uniform in ``scale`` and aspects log-uniform in ``ratio``, of uniform draws ``(N, DRAWS)``."""
    area, log_ratio, offset, _ = draws.double().split([ATTEMPTS, ATTEMPTS, 2, 1], dim=1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    share = scale[0] + (scale[1] - scale[0]) * area
    return Attempts(share, (low + (high - low) * log_ratio).exp(), offset, ratio)


def random_boxes(
    draws: Tensor, height: Tensor, width: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes ``(N, 4)`` int64 (top, left, height, width), distributed as torchvision's RandomResizedCrop.

    The area is uniform in ``scale`` (shares of the image), the aspect ratio log-uniform in ``ratio``;
    the first of ten attempts that fits is used, else the largest centred box of an allowed ratio.

    Args:
        draws: uniform draws ``(N, DRAWS)``.
        height, width: of the images, ``(N,)`` int64.
    """
    drawn = attempts(draws, scale, ratio)
    height, width = height.double().unsqueeze(1), width.double().unsqueeze(1)
    area = height * width * drawn.share
    wide, tall = (area * drawn.aspect).sqrt().round(), (area / drawn.aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    found, first = fits.any(dim=1, keepdim=True), fits.int().argmax(dim=1, keepdim=True)
    whole = width / height
    w = torch.where(whole > ratio[1], (height * ratio[1]).round(), width)
    h = torch.where(whole < ratio[0], (width / ratio[0]).round(), height)
    w = torch.where(found, wide.gather(1, first), w)
    h = torch.where(found, tall.gather(1, first), h)
    rest = torch.cat([height - h, width - w], dim=1)
    corner = torch.where(found, drawn.offset * (rest + 1), rest / 2).floor()
    return torch.cat([corner, h, w], dim=1).long()


def random_box(drawn: Attempts, i: int, height: int, width: int) -> list[int]:
    """Box i of :func:`random_boxes`, bit for bit, for an image at a time: forty times faster."""
    low, high = drawn.ratio
    for share, aspect in zip(drawn.share[i].tolist(), drawn.aspect[i].tolist(), strict=True):
        area = float(height * width) * share
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            down, right = drawn.offset[i].tolist()
            return [int(down * (height - h + 1)), int(right * (width - w + 1)), h, w]
    w = round(height * high) if width / height > high else width
    h = round(width / low) if width / height < low else height
    return [(height - h) // 2, (width - w) // 2, h, w]


def resampling(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """Row-stochastic matrices ``(N, size, source)`` that resize ``[start, start + length)`` to ``size``.

    The weights are the antialiased triangle of PIL and torchvision: its support grows with the
    reduction, and nothing outside the box is read.
    """
    start, length = start.float().view(-1, 1, 1), length.float().view(-1, 1, 1)
    step = length / size
    centre = (torch.arange(size, device=start.device).view(1, -1, 1) + 0.5) * step
    pixel = torch.arange(source, device=start.device).view(1, 1, -1) + 0.5 - start
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel > 0) & (pixel < length))
    return weight / weight.sum(dim=2, keepdim=True)


def crop_resize(images: Tensor, boxes: Tensor, mirror: Tensor, size: tuple[int, int]) -> Tensor:
    """Views ``(N, C, h, w)`` float of ``images`` ``(N, C, H, W)``, cropped to ``boxes`` ``(N, 4)``.

    Args:
        mirror: ``(N,)`` bool, which views to mirror left to right.
        size: h and w.
    """
    rows = resampling(boxes[:, 0], boxes[:, 2], images.shape[2], size[0])
    columns = resampling(boxes[:, 1], boxes[:, 3], images.shape[3], size[1])
    columns = torch.where(mirror.view(-1, 1, 1), columns.flip(1), columns)
    return rows.unsqueeze(1) @ (images.float() @ columns.mT.unsqueeze(1))


def turned(views: Tensor, turn: Tensor, quadrant: bool = False) -> Tensor:
    """Views ``(N, C, side, side)`` turned by quarters, counter-clockwise.

    Args:
        turn: ``(N,)`` int64, r quarters from 0 to 3; or 4 q + r for the quadrant q: 0 at the top left, 1 at
            the top right, 2 at the bottom left, 3 at the bottom right, which is turned inside itself
            (LoRot-E, Moon et al. 2022, arXiv:2207.10023).
        quadrant: whether a quadrant is turned; then the side is even.

    Example:
        >>> turned(torch.arange(4.0).view(1, 1, 2, 2), torch.tensor([1])).flatten().tolist()
        [1.0, 3.0, 0.0, 2.0]
    """
    if not quadrant:
        return _whole_turned(views, turn)
    views, half = views.clone(), views.shape[2] // 2
    for number in range(4):
        top, left = number // 2 * half, number % 2 * half
        part = views[:, :, top : top + half, left : left + half]
        part.copy_(_whole_turned(part, torch.where(turn // 4 == number, turn % 4, 0)))
    return views


def _whole_turned(views: Tensor, quarters: Tensor) -> Tensor:
    # No rows are picked by a mask, for whose count a GPU would have to wait.
    made = views
    for number in (1, 2, 3):
        chosen = (quarters == number).view(-1, 1, 1, 1)
        made = torch.where(chosen, torch.rot90(views, number, (2, 3)), made)
    return made.contiguous(memory_format=torch.channels_last)
