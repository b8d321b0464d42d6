"""Embedded colour profiles (ICC): from a picture's own colours to those of screens, sRGB."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

CLOSE = 3  # of 255: two encodings of sRGB differ by no more; such colours are left as they are
_DAMAGED = (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError)


def transform_of(image: Image.Image) -> Any:
    """The transform of the image's colours, of mode L, RGB or CMYK, to sRGB; None if they are sRGB already.

    None, too, without a profile, and for one that is damaged or of other colours than the image: its numbers
    are then taken as they are.
    """
    profile = image.info.get("icc_profile")
    mode = colours_of(image.mode)
    return _transform(profile, mode) if isinstance(profile, bytes) and profile and mode else None


def colours_of(mode: str) -> str | None:
    """The mode of an image's colours without transparency and palette; None for modes without a profile."""
    return {"L": "L", "LA": "L", "La": "L", "CMYK": "CMYK"}.get(mode) or (
        "RGB" if mode in ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA") else None
    )


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    try:
        made = ImageCms.buildTransform(
            io.BytesIO(profile), _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        if mode == "CMYK":
            return made
        colours = _palette().convert(mode)
        changed = np.asarray(ImageCms.applyTransform(colours, made)).astype(int)
    except _DAMAGED:
        return None
    return made if np.abs(changed - np.asarray(colours.convert("RGB"))).max() > CLOSE else None


def managed(image: Image.Image, transform: Any) -> Image.Image:
    """The colours of an image in sRGB, mode RGB, without its transparency."""
    converted = ImageCms.applyTransform(image.convert(colours_of(image.mode)), transform)
    assert converted is not None
    return converted


def from_lab(image: Image.Image) -> Image.Image:
    """RGB of CIELab, which Pillow does not convert."""
    converted = ImageCms.applyTransform(image, _lab())
    assert converted is not None
    return converted


@lru_cache(maxsize=1)
def _lab() -> Any:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


@lru_cache(maxsize=1)
def _palette() -> Image.Image:
    """4,096 colours all over the cube, and with them 16 greys."""
    return Image.fromarray(np.indices((16, 16, 16), np.uint8).reshape(3, 64, 64).transpose(1, 2, 0) * 17)
