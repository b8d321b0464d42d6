"""From a decoded image of any mode, or stored numbers, to uint8 RGB."""

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from selfsup.data.readers.profiles import from_lab, managed, transform_of
from selfsup.data.readers.values import Range, Stored, byte_table, pairs_of

LARGE = 2**24  # pixels above which an image is shrunk, and converted in strips, to save memory


def mapped(stored: Stored, range: Range | None, channels: int = 3) -> Tensor:
    """uint8 (C, H, W) of stored numbers, grey three times for three; or (4, H, W) as :func:`uncopied`."""
    values = stored.eight_bits(range)
    if stored.alpha is not None:
        alpha = Stored(stored.alpha, stored.kind).eight_bits()
        grey = values.ndim == 2
        image = Image.fromarray(np.dstack([*([values] * 3 if grey else [values]), alpha]))
        return tensor_of(image, None)
    pixels = torch.from_numpy(values)
    if values.ndim == 2:
        return pixels.expand(3 if channels == 3 else 1, -1, -1)
    return pixels.permute(2, 0, 1)


def tensor_of(image: Image.Image, range: Range | None) -> Tensor:
    """uint8 (4, H, W) as :func:`uncopied`, or (3, H, W), channels last."""
    if image.width * image.height <= LARGE:
        image, range = _rgb(image, range), None
    pixels = uncopied(image, range)
    return torch.from_numpy(_array(image, range)).permute(2, 0, 1) if pixels is None else pixels


def uncopied(image: Image.Image, range: Range | None) -> Tensor | None:
    """uint8 (4, H, W) in PIL's own memory, its last channel without meaning, of RGB that is in one piece."""
    if not _is_final(image, range):
        return None
    try:
        flat = from_dlpack(pa.array(image).flatten())
    except ValueError:  # it is in several pieces
        return None
    return flat.view(image.height, image.width, 4).permute(2, 0, 1)


def _is_final(image: Image.Image, range: Range | None) -> bool:
    """Whether these are the pixels to show."""
    return (
        image.mode == "RGB"
        and range in (None, (0, 255))
        and "transparency" not in image.info
        and ("icc_profile" not in image.info or transform_of(image) is None)
    )


def _rgb(image: Image.Image, range: Range | None) -> Image.Image:
    """The image in RGB, with its colours in sRGB, its values in the range, and on white."""
    if _is_final(image, range):
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = _colours(image)
    if range is not None:
        colours = colours.point(byte_table(pairs_of(range, 1)[0]) * 3)
    if alpha is None:
        return colours
    colours.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _colours(image: Image.Image) -> Image.Image:
    """RGB without transparency: a new image, without the profile, which has been applied."""
    if image.mode == "LAB":
        return from_lab(image)
    if (transform := transform_of(image)) is not None:
        return managed(image, transform)
    # Through RGBA if a colour or an entry of a palette stands for transparency, as PIL lays it on white.
    colours = image.convert("RGBA").convert("RGB") if image.has_transparency_data else image.convert("RGB")
    colours.info.pop("icc_profile", None)
    return colours


def _array(image: Image.Image, range: Range | None) -> np.ndarray:
    """(H, W, 3); of a large image in strips, since the conversions need several times an image's memory."""
    if image.width * image.height <= LARGE:
        return np.array(_rgb(image, range))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, LARGE // 8 // image.width)
    for top in np.arange(0, image.height, step).tolist():
        bottom = min(top + step, image.height)
        pixels[top:bottom] = np.asarray(_rgb(image.crop((0, top, image.width, bottom)), range))
    return pixels
