"""From an encoded image to the pixels that a person sees, as uint8 RGB."""

import io
import os
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(Exception):
    """An image that cannot be decoded: `name` is what a person calls it, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read image {self.name!r}: {self.reason}"


def decode(file: str | Path | bytes, name: str) -> Tensor:
    """Decode one image, given as a path or as its encoded bytes.

    Grey is replicated to three channels, transparency is laid on white, 16 bits are scaled to 8, palettes
    and CMYK are converted, and the rotation that a camera noted in EXIF is applied. Of an animation, the
    first frame is taken.

    Returns:
        uint8 (3, H, W), contiguous.

    Raises:
        UnreadableImage: if the file is missing, empty, damaged, no image, or larger than PIL's limit
            against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    if isinstance(file, bytes):
        if not file:
            raise UnreadableImage(name, "it is empty")
        stream: io.BytesIO | str = io.BytesIO(file)
    else:
        _check_file(file, name)
        stream = os.fspath(file)
    try:
        with Image.open(stream) as image:
            _check_size(image)
            image.load()
            pixels = np.array(_rgb(_upright(image)))
    # On damaged files PIL's decoders raise nearly anything: OSError, SyntaxError, ValueError, EOFError,
    # struct.error, IndexError, zlib.error, DecompressionBombError.
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(name, _reason(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_file(file: str | Path, name: str) -> None:
    # Opening a named pipe would wait for ever, so anything that is no plain file is refused first.
    if os.path.islink(file) and not os.path.exists(file):
        raise UnreadableImage(name, "it is a broken link")
    if not os.path.isfile(file):
        raise UnreadableImage(name, "there is no such file")
    if os.path.getsize(file) == 0:
        raise UnreadableImage(name, "it is empty")


def _check_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels are more than {limit}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """`PIL.ImageOps.exif_transpose` that does not write EXIF anew, which fails on odd but harmless tags."""
    turn = ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_wide(image).convert("RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (PIL's modes I;16 and I), or of floats in [0, 1], to 8 bits."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(f"its grey values are not within 0 and {top:g}")
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))
