"""Pictures inside a page: images as data URIs, and maps of numbers as colours."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from selfsup.text import shown

LOSSLESS = 64  # pixels a side up to which PNG is no larger than a JPEG of good quality

# Dark to light in perceptually equal steps, colour-blind safe and readable in grey: five colours of "cividis"
# (Nuñez et al. 2018, arXiv:1712.01662).
_RAMP = ((0, 32, 76), (61, 77, 107), (124, 123, 120), (188, 174, 108), (255, 233, 69))


def visible(images: Tensor) -> Tensor:
    """Images uint8 ``(..., C, H, W)`` as a person sees them, ``(..., 3, H, W)``.

    One channel is grey and three are colours. Of others the first three are shown as red, green and blue; of
    two, blue is black.

    >>> visible(torch.full((2, 5, 4, 4), 7, dtype=torch.uint8))[0, :, 0, 0].tolist()
    [7, 7, 7]
    """
    channels = images.shape[-3]
    if channels == 1:
        return images.expand(*images.shape[:-3], 3, -1, -1)
    if channels == 2:
        return torch.cat([images, torch.zeros_like(images[..., :1, :, :])], dim=-3)
    return images[..., :3, :, :]


def false_colours(channels: int) -> str:
    """Which channels :func:`visible` shows in which colours, a sentence; empty for one channel and for three.

    >>> false_colours(3), false_colours(4)
    ('', 'False colours: channels 1, 2 and 3 of 4 as red, green and blue.')
    """
    if channels in (1, 3):
        return ""
    if channels == 2:
        return "False colours: channels 1 and 2 as red and green."
    return f"False colours: channels 1, 2 and 3 of {channels} as red, green and blue."


def data_uri(image: Tensor, quality: int = 85) -> str:
    """A ``data:`` URI of an image, uint8 ``(C, H, W)``: PNG of a small one, else JPEG.

    >>> data_uri(torch.zeros(3, 2, 2, dtype=torch.uint8))[:22]
    'data:image/png;base64,'
    """
    small = max(image.shape[1:]) <= LOSSLESS
    buffer = io.BytesIO()
    picture = Image.fromarray(visible(image).permute(1, 2, 0).contiguous().cpu().numpy())
    if small:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def thumbnail(image: Tensor, side: int) -> Tensor:
    """An image, uint8 ``(C, H, W)``, with its longer side of at most ``side`` pixels.

    >>> thumbnail(torch.zeros(3, 200, 100, dtype=torch.uint8), 50).shape
    torch.Size([3, 50, 25])
    """
    height, width = image.shape[-2:]
    shrink = side / max(height, width)
    if shrink >= 1:
        return image
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def caption(name: str) -> str:
    """The end of a path, as it stands beneath a picture.

    >>> caption("my/images/cat/7.jpg")
    'cat/7.jpg'
    """
    return shown("/".join(Path(name).parts[-2:]), most=40)


def figure(image: Tensor, alt: str, **more: Any) -> dict[str, Any]:
    """An image for the page, with its alternative text."""
    return {"src": data_uri(image), "alt": alt, "side": max(image.shape[1:]), **more}


def sheet(tiles: Tensor, quality: int = 78) -> dict[str, Any]:
    """Tiles uint8 ``(N, 3, T, T)`` in one picture of about as many rows as columns.

    Returns:
        ``src``, ``tile`` (T), ``columns`` and ``rows``.
    """
    count, side = len(tiles), tiles.shape[-1]
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    full = F.pad(tiles, (0, 0, 0, 0, 0, 0, 0, rows * columns - count))
    whole = full.view(rows, columns, 3, side, side).permute(2, 0, 3, 1, 4)
    whole = whole.reshape(3, rows * side, columns * side)
    return {"src": data_uri(whole, quality), "tile": side, "columns": columns, "rows": rows}


def sheet_of(rows: Tensor, gap: int = 2) -> Tensor:
    """Images uint8 ``(R, C, 3, h, w)`` in R rows, with white between them: uint8 ``(3, H, W)``.

    >>> sheet_of(torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3, 20, 30])
    """
    padded = F.pad(rows, (0, gap, 0, gap), value=255)
    count, columns, _, height, width = padded.shape
    return padded.permute(2, 0, 3, 1, 4).reshape(3, count * height, columns * width)


def framed(images: Tensor, height: int, width: int) -> Tensor:
    """Images ``(..., h, w)`` in the middle of grey ones of that height and width."""
    down, across = height - images.shape[-2], width - images.shape[-1]
    edges = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(images, edges, value=128)


def coloured(values: Tensor, low: float, high: float) -> Tensor:
    """Numbers ``(..., H, W)`` as colours, uint8 ``(..., 3, H, W)``: dark at ``low``, light at ``high``.

    NaN is white, which is not on the ramp.
    """
    ramp = torch.tensor(_RAMP, dtype=torch.float32)
    at = ((values.float() - low) / max(high - low, 1e-12)).clamp(0, 1) * (len(_RAMP) - 1)
    floor = at.nan_to_num(0).long().clamp(max=len(_RAMP) - 2)
    mixed = ramp[floor].lerp(ramp[floor + 1], (at.nan_to_num(0) - floor).unsqueeze(-1))
    mixed = torch.where(at.isnan().unsqueeze(-1), torch.tensor(255.0), mixed)
    return mixed.movedim(-1, -3).round().byte()


def enlarged(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 ``(..., C, h, w)`` as ``(..., C, *size)``, each value a square or a rectangle."""
    shape = image.shape[:-2]
    flat = image.reshape(-1, *image.shape[-3:]).float()
    return F.interpolate(flat, size, mode="nearest-exact").byte().view(*shape, *size)


def over(images: Tensor, heat: Tensor) -> Tensor:
    """Images uint8 ``(N, C, H, W)`` in grey under the colours of a heat ``(N, h, w)`` in [0, 1]."""
    smooth = F.interpolate(heat[:, None].float(), images.shape[-2:], mode="bilinear")[:, 0]
    grey = images.float().mean(1, keepdim=True)
    return grey.lerp(coloured(smooth, 0, 1).float(), 0.7).round().byte()
