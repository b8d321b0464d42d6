"""Numbers of more than 8 bits in files other than TIFF: PNG, PGM, PPM, JPEG 2000, and what Pillow opens."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from selfsup.data.readers.extras import library
from selfsup.data.readers.numbers import wide_heif
from selfsup.data.readers.opening import opened
from selfsup.data.readers.values import FLOATS, WORDS, Kind, Stored

_SIZ = b"\xff\x4f\xff\x51"  # where the codestream of JPEG 2000 begins its description
_HEADER = 2**16  # bytes that are searched for it


def packing_of(image: ImageFile.ImageFile) -> Any:
    """The layout of the numbers of an image that was opened and not loaded, in Pillow's terms."""
    return image.tile[0].args if image.tile else None


def read_wide(image: ImageFile.ImageFile, how: Any, file: str | Path | bytes) -> Stored | None:
    """The stored numbers of an image of more than 8 bits that Pillow has opened; None for 8 bits.

    Args:
        how: the layout (:func:`packing_of`).
        file: a path, or its bytes.

    Raises:
        ValueError: Pillow would give wrong numbers.
        OSError: the file is damaged.
    """
    if image.format == "PNG" and how in ("RGB;16B", "RGBA;16B", "LA;16B"):
        return _colour_png(file, str(how))
    if image.format == "PPM" and isinstance(how, tuple) and len(how) == 2 and int(how[1]) > 255:
        return _ppm(image, int(how[1]))
    if image.format == "HEIF":
        return wide_heif(file)
    if image.format == "JPEG2000" and (bits := _bits_of_jpeg2000(file)) > 8:
        if not image.mode.startswith("I"):
            return _wide_jpeg2000(file, bits, image.size)
        image.load()
        kind = Kind(f"{bits}-bit", 0, 2**bits - 1)
        return Stored(np.asarray(image).astype(np.uint16) >> max(0, 16 - bits), kind)
    if image.mode.startswith("I") or image.mode == "F":
        image.load()
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="))
        return Stored(values, FLOATS if image.mode == "F" else WORDS)
    return None


def _colour_png(file: str | Path | bytes, how: str) -> Stored:
    """Pillow keeps the upper byte of each number; with another pixel format set, it gives all bytes."""
    if how == "LA;16B":
        four = _bytes_as(file, "RGBA", "RGBA").astype(np.uint16)
        return Stored(four[..., 0] << 8 | four[..., 1], WORDS, alpha=four[..., 2] << 8 | four[..., 3])
    mode = how.partition(";")[0]
    upper, lower = (_bytes_as(file, mode, f"{mode};16{order}") for order in "BL")
    whole = upper.astype(np.uint16) << 8 | lower
    return Stored(whole[..., :3], WORDS, alpha=whole[..., 3] if mode == "RGBA" else None)


def _bytes_as(file: str | Path | bytes, mode: str, how: str) -> np.ndarray:
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else os.fspath(file)) as image:
        image._mode = mode
        image.tile = [tile._replace(args=how) for tile in image.tile]
        image.info.pop("transparency", None)
        image.load()
        return np.array(image)


def _ppm(image: Any, most: int) -> Stored:
    """Pillow scales to 16 bits what is grey, and to 8 what is coloured."""
    kind = Kind(f"{most.bit_length()}-bit", 0, most)
    tile, bands = image.tile[0], 1 if image.mode.startswith("I") else 3
    if tile.codec_name == "ppm":
        image.fp.seek(tile.offset)
        content = image.fp.read(2 * image.width * image.height * bands)
        values = np.frombuffer(content, ">u2").astype(np.uint16).reshape(image.height, image.width, bands)
        return Stored(values if bands == 3 else values[..., 0], kind)
    if bands == 3:
        raise ValueError("a PPM in text of more than 8 bits; write it in binary (P6)")
    image.load()
    return Stored(np.rint(np.asarray(image) * (most / 65535)).astype(np.uint16), kind)


def _wide_jpeg2000(file: str | Path | bytes, bits: int, size: tuple[int, int]) -> Stored:
    """Several bands, whose low bits Pillow would drop."""
    what = f"a JPEG 2000 of {bits} bits in several bands"
    with opened(file) as stream:
        values = library("imagecodecs", what).jpeg2k_decode(stream.read(), numthreads=1)
    if values.shape[:2] != size[::-1] or values.ndim != 3 or values.dtype != np.uint16:
        raise ValueError(f"{what} that unpacks to {values.dtype} {values.shape}")
    return Stored(values, Kind(f"{bits}-bit", 0, 2**bits - 1))


def _bits_of_jpeg2000(file: str | Path | bytes) -> int:
    with opened(file) as stream:
        head = stream.read(_HEADER)
    at = head.find(_SIZ)
    return (head[at + 42] & 127) + 1 if 0 <= at < len(head) - 42 else 8
