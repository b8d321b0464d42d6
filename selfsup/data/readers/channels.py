"""From what a picture has to the channels that a reading asks for."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsup.data.readers.reading import Reading
from selfsup.data.readers.values import BYTES, Stored

RED, GREEN = 19595, 38470  # of 65536, in the luma of ITU-R BT.601, as Pillow has it; the rest is blue


def luma(pixels: Tensor) -> Tensor:
    """uint8 (1, H, W) of colours (3 or more, H, W), whose first three are red, green and blue, or of grey.

    >>> luma(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)).item()
    76
    """
    if pixels.shape[0] == 1 or pixels.stride(0) == 0:  # grey, which is expanded to three
        return pixels[:1]
    red, green, blue = pixels[:3].to(torch.int32)
    whole = RED * red + GREEN * green + (2**16 - RED - GREEN) * blue + 2**15
    return (whole >> 16).to(torch.uint8)[None]


def bands_of(image: Image.Image) -> np.ndarray:
    """uint8 (H, W) or (H, W, S), the bands of a loaded image of 8 bits as they are, without its profile.

    Palettes, inks and luminances become red, green and blue; transparency is a band.
    """
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.array(image)


def bytes_of(image: Image.Image) -> Stored:
    """The same as stored numbers."""
    return Stored(bands_of(image), BYTES)


def selected(stored: Stored, reading: Reading) -> Stored:
    """The bands that a reading takes.

    Raises:
        ValueError: the picture does not have them, or others than colours and grey where these are asked for.
    """
    values = stored.values
    if reading.whole and stored.alpha is not None:
        values = np.dstack([values, stored.alpha])
        stored = replace(stored, alpha=None)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    has = 1 if values.ndim == 2 else values.shape[2]
    called = f"it has {has} band{'s' * (has > 1)}"
    if reading.bands:
        if max(reading.bands) > has:
            raise ValueError(f"{called}, and data.bands asks for band {max(reading.bands)}")
        if has > 1:
            values = values[..., [band - 1 for band in reading.bands]]
        elif len(reading.bands) > 1:
            values = np.stack([values] * len(reading.bands), axis=-1)
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[..., 0]
    elif not reading.whole and has not in (1, 3):
        raise ValueError(
            f"{called}, which are not colours; set data.channels={has}, or choose by data.bands=[1,2,3]"
        )
    elif reading.whole and has != reading.channels:
        raise ValueError(
            f"{called}, and data.channels is {reading.channels}; set data.channels={has}, or choose by "
            "data.bands"
        )
    return stored if values is stored.values else replace(stored, values=values)
