"""Where a view looks: random resized crops and mirroring, with each sample's own box.

A crop, its antialiased resize and its mirroring are one linear map of the rows and one of the
columns, so a batch of differently cropped samples is two batched matrix products.
"""

import math

import torch
from torch import Tensor

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 3  # area and ratio of each attempt, the two offsets, the mirror


def random_boxes(
    draws: Tensor, height: Tensor, width: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes ``(N, 4)`` int64 (top, left, height, width), distributed as torchvision's RandomResizedCrop.

    The area is uniform in ``scale`` (shares of the image), the aspect ratio log-uniform in ``ratio``;
    the first of ten attempts that fits is taken, else the largest centred box of an allowed ratio.

    Args:
        draws: uniform draws ``(N, DRAWS)``.
        height, width: of the images, ``(N,)`` int64.
    """
    height, width = height.double(), width.double()
    area, log_ratio = draws[:, :ATTEMPTS].double(), draws[:, ATTEMPTS : 2 * ATTEMPTS].double()
    area = (height * width).unsqueeze(1) * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * log_ratio).exp()
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width.unsqueeze(1)) & (tall > 0) & (tall <= height.unsqueeze(1))
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    whole = width / height
    fallback_wide = torch.where(whole > ratio[1], (height * ratio[1]).round(), width)
    fallback_tall = torch.where(whole < ratio[0], (width / ratio[0]).round(), height)
    w = torch.where(found, wide.gather(1, first).squeeze(1), fallback_wide)
    h = torch.where(found, tall.gather(1, first).squeeze(1), fallback_tall)
    offset = draws[:, 2 * ATTEMPTS : 2 * ATTEMPTS + 2].double()
    top = torch.where(found, (offset[:, 0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (offset[:, 1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], dim=1).long()


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


def crop_resize(images: Tensor, boxes: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Views ``(N, C, size, size)`` float of ``images`` ``(N, C, H, W)``, cropped to ``boxes`` ``(N, 4)``.

    Args:
        mirror: ``(N,)`` bool, which views to mirror left to right.
    """
    rows = resampling(boxes[:, 0], boxes[:, 2], images.shape[2], size)
    columns = resampling(boxes[:, 1], boxes[:, 3], images.shape[3], size)
    columns = torch.where(mirror.view(-1, 1, 1), columns.flip(1), columns)
    return rows.unsqueeze(1) @ (images.float() @ columns.mT.unsqueeze(1))
