"""Colours of a GPU's views in a form that ``torch.compile`` makes a few kernels of.

The pixels are those of :mod:`selfsup.views.image.colour` to 1e-5. Only contrast needs more of an image than a
pixel, its mean grey when contrast's turn comes. That is found first, by the operations before it, and is then
known: jitter, greyscale and the conversion from bytes are two passes over an image, the blur another two, of
which the last solarises and normalises.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from selfsup.views.image.colour import _LUMA, CONTRAST, HUE, SATURATION
from selfsup.views.image.colour_params import ColourParams

Planes = tuple[Tensor, Tensor, Tensor]  # red, green and blue, ``(N, H, W)`` each


def render(crops: Tensor, params: ColourParams, mean: Tensor, std: Tensor) -> Tensor:
    """As :func:`selfsup.views.image.colour.render`, of red, green and blue, without noise."""
    planes = (crops[:, 0] / 255.0, crops[:, 1] / 255.0, crops[:, 2] / 255.0)
    if params.jitter is not None:
        planes = jittered(planes, params.jitter, params.order)
    if params.grey is not None:
        grey, chosen = luma(planes), _wide(params.grey)
        planes = _each(lambda plane: torch.where(chosen, grey, plane), planes)
    images = torch.stack(planes, dim=1)
    if params.sigma is not None:
        images = blurred(images, params.sigma, params.radius)
    if params.solarized is not None:
        chosen = params.solarized.view(-1, 1, 1, 1)
        images = torch.where(chosen & (images >= 0.5), 1 - images, images)
    images = (images - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    if params.dropped is not None:
        images = images * ~params.dropped[:, :, None, None]
    return images.contiguous(memory_format=torch.channels_last)


@cache
def compiled() -> Callable[..., Any]:
    """:func:`render`, compiled for each shape when it first comes, which takes up to a minute.

    Of a ninth shape on, torch says so and computes as it is written.
    """
    return torch.compile(render, dynamic=False)


def jittered(planes: Planes, factors: Tensor, order: Tensor) -> Planes:
    """Brightness, contrast, saturation and hue, in each sample's own order."""
    turns = [(turn, factors.gather(1, turn.unsqueeze(1)).squeeze(1)) for turn in order.unbind(dim=1)]
    early, waits = planes, torch.ones_like(turns[0][0], dtype=torch.bool)
    for operation, factor in turns[:-1]:  # nothing comes after the last
        waits = waits & (operation != CONTRAST)
        there, changed = _wide(waits), _one(early, operation, factor, torch.zeros_like(factor))
        early = _each(lambda new, old, there=there: torch.where(there, new, old), changed, early)
    mean = luma(early).mean(dim=(1, 2))
    for operation, factor in turns:
        planes = _one(planes, operation, factor, mean)
    return planes


def _one(planes: Planes, operation: Tensor, factor: Tensor, mean: Tensor) -> Planes:
    """One operation on each sample."""
    is_hue, rest = operation == HUE, 1 - factor
    scale = _wide(torch.where(is_hue, 1.0, factor))
    flat = _wide(torch.where(operation == CONTRAST, rest * mean, 0.0))
    grey = luma(planes) * _wide(torch.where(operation == SATURATION, rest, 0.0)) + flat
    turned, chosen = hued(planes, _wide(factor)), _wide(is_hue & (factor != 0))
    return _each(lambda new, old: (torch.where(chosen, new, old) * scale + grey).clamp(0, 1), turned, planes)


def luma(planes: Planes) -> Tensor:
    """Greys ``(N, H, W)`` (ITU-R 601)."""
    return _LUMA[0] * planes[0] + _LUMA[1] * planes[1] + _LUMA[2] * planes[2]


def hued(planes: Planes, shift: Tensor) -> Planes:
    """Rotate the hue by ``shift`` ``(N, 1, 1)`` turns, in HSV."""
    red, green, blue = planes
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    of_green = torch.where(value == green, 2.0 * chroma + blue - red, 4.0 * chroma + red - green)
    hue = torch.where(value == red, green - blue, of_green) / chroma.clamp(min=1e-30) + 6 * shift

    def channel(offset: int) -> Tensor:
        k = (offset + hue).remainder(6)
        return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)

    return channel(5), channel(3), channel(1)


def blurred(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur of the images ``(N, C, H, W)`` whose sigma is not 0, mirrored at the borders.

    Args:
        sigma: ``(N,)``, in pixels.
        radius: of the widest kernel, in pixels.
    """
    chosen = sigma > 0
    width = torch.where(chosen, sigma, 1.0).unsqueeze(1)
    blurry = images
    for dim in (2, 3):
        length = images.shape[dim]
        reach = min(length - 1, radius)
        offset = torch.arange(-reach, reach + 1, device=sigma.device)
        kernel = torch.where(offset.abs() <= (3 * width).ceil(), (-0.5 * (offset / width) ** 2).exp(), 0.0)
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
        place = torch.arange(length, device=sigma.device)
        taps = [
            blurry.index_select(dim, length - 1 - (length - 1 - (place + step).abs()).abs())
            * kernel[:, step + reach].view(-1, 1, 1, 1)
            for step in range(-reach, reach + 1)
        ]
        blurry = sum(taps[1:], start=taps[0])
    return torch.where(chosen.view(-1, 1, 1, 1), blurry, images)


def _each(change: Callable[..., Tensor], *planes: Planes) -> Planes:
    red, green, blue = map(change, *planes)
    return red, green, blue


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)
