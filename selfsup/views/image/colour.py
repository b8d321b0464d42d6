"""Colour of a view: jitter, greyscale, blur, solarisation and noise, with each sample's own parameters.

Images are float ``(N, C, H, W)`` in [0, 1]; what needs red, green and blue has three channels. The operations
are torchvision's float ones, value for value to 1e-5, alone and in sequence, those on channels that are not
colours as torchvision's on each channel as an image of grey.

On a CPU operations on some samples compute only those. On a GPU, which would have to tell their number first,
they compute all and keep what they had of the others.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.views.draws import normal
from selfsup.views.image.colour_params import OF_VALUES, ColourParams

_LUMA = (0.2989, 0.587, 0.114)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_BAND = 32  # rows of a view that are blurred by one matrix
_CACHE = 2**20  # bytes of float views that fit one CPU core's cache
_DRAWN = 2**24  # values whose noise is drawn together: the hash takes about 30 bytes each


def render(crops: Tensor, params: ColourParams, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised views ``(N, C, H, W)`` float32, channels last, of crops in [0, 255], uint8 or float.

    On a CPU a few views at a time, so that they stay in its cache between operations.

    Args:
        params: of each of the N.
        mean, std: ``(C,)``, of values in [0, 1].
    """
    views = torch.empty(
        crops.shape, dtype=torch.float32, device=crops.device, memory_format=torch.channels_last
    )
    together = max(1, _CACHE // (4 * crops[0].numel())) if crops.device.type == "cpu" and len(crops) else None
    mean, std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
    for rows in _chunks(len(crops), together):
        part = crops[rows].to(torch.float32, memory_format=torch.contiguous_format, copy=True).div_(255)
        views[rows] = coloured(part, params[rows], crops.device.type != "cpu").sub_(mean).div_(std)
        if params.dropped is not None:
            views[rows].mul_(~params.dropped[rows, :, None, None])
    return views


def _chunks(n: int, together: int | None) -> list[slice]:
    return [slice(i, i + together) for i in range(0, n, together)] if together else [slice(n)]


def coloured(images: Tensor, params: ColourParams, masked: bool) -> Tensor:
    """The images ``(N, C, H, W)`` in their colours, blurred and with noise; changed in place where possible.

    Args:
        images: float in [0, 1].
        params: of each of the N.
        masked: whether all images go through every operation, in shapes that depend on no draw.
    """
    if params.jitter is not None:
        images = _jitter(images, params.jitter, params.order, masked)
    if params.channels is not None:
        images = _jitter_channels(images, params.channels, params.order)
    if params.grey is not None:
        images = _some(images, params.grey, lambda some, _: greyscale(some).expand(-1, 3, -1, -1), masked)
    if (sigma := params.sigma) is not None:
        radius = params.radius if masked else None
        images = _some(images, sigma > 0, lambda some, rows: blur(some, sigma[rows], radius), masked)
    if params.solarized is not None:
        images = _some(images, params.solarized, lambda some, _: solarize(some), masked)
    if params.noise is not None:
        values = images[0].numel() if len(images) else 1
        for rows in _chunks(len(images), max(1, _DRAWN // values)):
            noise = normal(params.noise[rows], values, OF_VALUES).view(-1, *images.shape[1:])
            images[rows].add_(noise, alpha=params.deviation).clamp_(0, 1)
    return images


def _some(
    images: Tensor,
    chosen: Tensor,
    change: Callable[[Tensor, Tensor | slice], Tensor],
    masked: bool,
) -> Tensor:
    """The images, of which the ``chosen`` ``(N,)`` are changed; ``change`` gets images and their rows."""
    if masked:
        return torch.where(_wide(chosen), change(images, slice(None)), images)
    rows = chosen.nonzero().squeeze(1)
    return images.index_copy_(0, rows, change(images[rows], rows)) if len(rows) else images


def greyscale(images: Tensor) -> Tensor:
    """Luma ``(N, 1, H, W)`` of RGB images (ITU-R 601)."""
    red, green, blue = images.split(1, dim=1)
    return (_LUMA[0] * red).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in each sample's own order.

    Args:
        images: ``(N, 3, H, W)``.
        factors: ``(N, 4)``: brightness, contrast and saturation factors, hue shift in turns.
        order: ``(N, 4)`` permutations; column k says which operation comes k-th.
    """
    return _jitter(images.clone(), factors, order, masked=False)


def _jitter(images: Tensor, factors: Tensor, order: Tensor, masked: bool) -> Tensor:
    for operation in order.unbind(dim=1):
        factor = factors.gather(1, operation.unsqueeze(1)).squeeze(1)
        grey = greyscale(images)
        # x <- factor * x + blend, the blend being black, the mean grey, or the grey image
        rest = torch.where(operation == HUE, 0.0, 1 - factor)
        mean = torch.where(operation == CONTRAST, rest * grey.mean(dim=(1, 2, 3)), 0.0)
        own = torch.where(operation == SATURATION, rest, 0.0)
        blend = torch.addcmul(_wide(mean), grey, _wide(own))
        hued = (operation == HUE) & (factor != 0)
        images = _some(images, hued, partial(_hued, factor), masked)
        images.mul_(_wide(torch.where(operation == HUE, 1.0, factor))).add_(blend).clamp_(0, 1)
    return images


def jitter_channels(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness and contrast of each channel by itself, in each sample's own order.

    Args:
        images: ``(N, C, H, W)``.
        factors: ``(N, 2, C)``, of brightness and of contrast.
        order: ``(N, 4)`` permutations as of :func:`jitter`, whose other two operations are left out.
    """
    return _jitter_channels(images.clone(), factors, order)


def _jitter_channels(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    place = order.argsort(dim=1)
    first = torch.where(place[:, BRIGHTNESS] < place[:, CONTRAST], BRIGHTNESS, CONTRAST)
    for operation in (first, BRIGHTNESS + CONTRAST - first):
        factor = factors[torch.arange(len(images), device=images.device), operation]
        mean = (1 - factor) * images.mean(dim=(2, 3))
        blend = torch.where((operation == CONTRAST).unsqueeze(1), mean, 0.0)
        images.mul_(factor[:, :, None, None]).add_(blend[:, :, None, None]).clamp_(0, 1)
    return images


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _hued(factor: Tensor, images: Tensor, rows: Tensor | slice) -> Tensor:
    return shift_hue(images, _wide(factor[rows]))


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of ``(N, 3, H, W)`` by ``shift`` ``(N, 1, 1, 1)`` turns, in HSV."""
    red, green, blue = images.unbind(dim=1)
    low, value = images.aminmax(dim=1)
    chroma = value - low
    is_red, is_green = value == red, value == green
    rise = torch.where(is_green, blue - red, red - green)
    rise = torch.where(is_red, green - blue, rise)
    sector = torch.where(is_green, 2.0, 4.0).masked_fill_(is_red, 0.0)
    # for a grey pixel 0 / tiny: the hue of red, invisible at a chroma of 0
    hue = rise.div_(chroma.clamp(min=1e-30)).add_(sector).add_(6 * shift.squeeze(1))
    # channel = value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + hue) mod 6, n = 5, 3, 1
    offset = torch.arange(5, 0, -2, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    k = (offset + hue.unsqueeze(1)).remainder_(6)
    k = torch.minimum(k, 4 - k).clamp_(0, 1)
    return torch.addcmul(value.unsqueeze(1), chroma.unsqueeze(1), k, value=-1)


def blur(images: Tensor, sigma: Tensor, radius: int | None = None) -> Tensor:
    """Gaussian blur of each sample's ``sigma`` ``(N,)`` pixels, mirrored at the borders.

    The kernel is cut at three sigmas, or at the image's size if that is less.

    Args:
        radius: of the widest kernel in pixels; by default it is read from the sigmas, for which a GPU has to
            be waited for. An image whose sigma is 0 becomes not-a-number.
    """
    if len(images) == 0:
        return images
    radius = int((3 * sigma).ceil().max()) if radius is None else radius
    return _blur_columns(_blur_columns(images, sigma, radius).mT, sigma, radius).mT


def _blur_columns(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur ``(N, C, H, W)`` along the height, in bands of rows that one small matrix maps.

    It is ``(band, band + 2 radius)``, the same for all bands, so that the work an output needs grows
    with the kernel and not with the image.
    """
    length = images.shape[2]
    reach = (3 * sigma).ceil().unsqueeze(1)
    radius = min(length - 1, radius)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = (-0.5 * (offset / sigma.unsqueeze(1)) ** 2).exp()
    # Each kernel ends at its own reach, so that a sample's blur does not depend on its batch.
    kernel = kernel * (offset.abs() <= reach)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    band = min(_BAND, length)
    bands = -(-length // band)
    # row i of the band has the kernel at columns i ... i + 2 radius
    matrix = F.pad(kernel, (0, band)).repeat(1, band)[:, : band * (band + 2 * radius)]
    matrix = matrix.view(-1, 1, 1, band, band + 2 * radius)
    below = bands * band - length
    padded = F.pad(images.contiguous(), (0, 0, radius, radius), mode="reflect")
    padded = F.pad(padded, (0, 0, 0, below)) if below else padded
    windows = padded.unfold(2, band + 2 * radius, band).mT
    return (matrix @ windows).flatten(2, 3)[:, :, :length]


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert the values at or above ``threshold``."""
    return torch.where(images >= threshold, 1 - images, images)
