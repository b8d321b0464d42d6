"""Whether one image is a copy of another: their textures, laid over each other.

Resizing and recompression leave the middle frequencies of an image; distinct photographs share the low ones
(a sky above, an object in the centre), and noise is in the high ones. The comparison therefore takes grey
thumbnails, slightly blurred, without their local mean. One may be mirrored, and may be a part of the other.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 32  # pixels a side of a thumbnail
SCALES = tuple(pixels / SIDE for pixels in range(SIDE, 18, -1))  # of a part, of each side of the whole
FLAT = 0.5  # grey levels of 255: a deviation of the texture below it is rounding
BLOCK = 2048  # pairs at a time


def textures(grey: Tensor, side: int = SIDE) -> Tensor:
    """The middle frequencies of thumbnails: blurred by [1 2 1] / 4, less the mean over 9 pixels (of 32).

    Args:
        grey: uint8 ``(N, H, W)``.
        side: of the result; the window of the mean shrinks with it, and half of 32 needs no blur.

    Returns:
        float32 ``(N, side, side)``.
    """
    return torch.cat([_texture(block, side) for block in grey.split(BLOCK)])


def _texture(grey: Tensor, side: int) -> Tensor:
    small = grey.float()[:, None]
    if small.shape[-2:] != (side, side):
        small = F.interpolate(small, (side, side), mode="bilinear", antialias=True, align_corners=False)
    if side >= SIDE:
        tent = torch.tensor([1.0, 2.0, 1.0]) / 4
        small = F.conv2d(F.pad(small, (1, 1, 1, 1), mode="reflect"), (tent[:, None] * tent)[None, None])
    half = side * 9 // (2 * SIDE)
    mean = F.avg_pool2d(F.pad(small, (half,) * 4, mode="reflect"), 2 * half + 1, 1)
    return (small - mean)[:, 0]


def similarity(first: Tensor, second: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """How well two textures match where they match best, in [-1, 1].

    The largest normalised correlation over the mirrored and the unmirrored second one, over the scales, and
    over all places of either as a part of the other.

    Args:
        first, second: ``(P, S, S)`` of :func:`textures`.

    Returns:
        ``(P,)``.

    >>> noise = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> round(float(similarity(noise, noise.flip(2))), 3)
    1.0
    """
    found = [
        torch.stack([one for mirror in (False, True) for one in _both_ways(a, b, mirror, scales)]).amax(0)
        for a, b in zip(first.split(BLOCK), second.split(BLOCK), strict=True)
    ]
    return torch.cat([first.new_empty(0), *found])


def _both_ways(a: Tensor, b: Tensor, mirror: bool, scales: Sequence[float]) -> list[Tensor]:
    b = b.flip(2) if mirror else b
    return [within(a, b, scales), within(b, a, [scale for scale in scales if scale < 1] or [1.0])]


@torch.inference_mode()
def within(whole: Tensor, part: Tensor, scales: Sequence[float]) -> Tensor:
    """The largest normalised correlation ``(P,)`` of ``part``, shrunk to the scales, and places of ``whole``.

    Both ``(P, S, S)``. Of a window w of the whole and the shrunk part v less its mean, the correlation is
    ``<w, v> / (|w - mean(w)| |v|)``, and 0 where either is flat.
    """
    side = whole.shape[-1]
    spectrum = torch.fft.rfft2(whole)
    summed = [F.pad(x, (1, 0, 1, 0)).cumsum(1).cumsum(2) for x in (whole, whole * whole)]
    best = whole.new_full((len(whole),), -1.0)
    for scale in scales:
        pixels = round(side * scale)
        shrunk = part
        if pixels < side:
            size = (pixels, pixels)
            shrunk = F.interpolate(part[:, None], size, mode="bilinear", antialias=True)[:, 0]
        shrunk = shrunk - shrunk.mean((1, 2), keepdim=True)
        places = side - pixels + 1
        # Circular, but a part that lies inside the whole does not wrap around.
        product = torch.fft.irfft2(spectrum * torch.fft.rfft2(shrunk, s=(side, side)).conj(), s=(side, side))
        mean, square = (_box_means(sums, pixels) for sums in summed)
        window = (square - mean * mean).clamp(min=0).sqrt() * pixels
        length = shrunk.flatten(1).norm(dim=1)[:, None, None]
        least = FLAT * pixels
        matched = product[:, :places, :places] / (window.clamp(min=least) * length.clamp(min=least))
        best = torch.maximum(best, matched.amax((1, 2)))
    return best


def _box_means(summed: Tensor, side: int) -> Tensor:
    """Means over all windows of ``side`` pixels, of sums over all that is above and left (Crow 1984)."""
    low, high = summed[:, : summed.shape[1] - side], summed[:, side:]
    across = slice(None, summed.shape[2] - side), slice(side, None)
    return (high[..., across[1]] - high[..., across[0]] - low[..., across[1]] + low[..., across[0]]) / side**2
