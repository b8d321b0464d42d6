"""Where a view looks: random resized crops and mirroring, with each sample's own box.

A crop, its antialiased resize and its mirroring are one linear map of the rows and one of the
columns, so a batch of differently cropped samples is two batched matrix products.
"""

import torch
from torch import Tensor

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 3  # area and ratio of each attempt, the two offsets, the mirror


Ends = tuple[float, float] | Tensor


def random_boxes(draws: Tensor, height: Tensor, width: Tensor, scale: Ends, ratio: Ends) -> Tensor:
    """Boxes ``(N, 4)`` int64 (top, left, height, width), distributed as torchvision's RandomResizedCrop.

    The area is uniform in ``scale`` (shares of the image), the aspect ratio log-uniform in ``ratio``;
    the first of ten attempts that fits is taken, else the largest centred box of an allowed ratio.

    Args:
        draws: uniform draws ``(N, DRAWS)``.
        height, width: of the images, ``(N,)`` int64.
        scale, ratio: the ends of both ranges, for all boxes or ``(N, 2)``, for each its own.
    """
    height, width = height.double().unsqueeze(1), width.double().unsqueeze(1)
    area, log_ratio = draws[:, :ATTEMPTS].double(), draws[:, ATTEMPTS : 2 * ATTEMPTS].double()
    low, high = _columns(scale)
    area = height * width * (low + (high - low) * area)
    narrow, broad = _columns(ratio)
    aspect = narrow * (broad / narrow) ** log_ratio
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    found, first = fits.max(dim=1, keepdim=True)
    whole = width / height
    w = torch.where(whole > broad, (height * broad).round(), width)
    h = torch.where(whole < narrow, (width / narrow).round(), height)
    w = torch.where(found, wide.gather(1, first), w)
    h = torch.where(found, tall.gather(1, first), h)
    rest = torch.cat([height - h, width - w], dim=1)
    offset = draws[:, 2 * ATTEMPTS : 2 * ATTEMPTS + 2].double() * (rest + 1)
    corner = torch.where(found, offset, rest / 2).floor()
    return torch.cat([corner, h, w], dim=1).long()


def _columns(ends: Ends) -> tuple[float, float] | tuple[Tensor, Tensor]:
    return (ends[:, :1], ends[:, 1:]) if isinstance(ends, Tensor) else ends


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
