"""Pictures that are numbers, in formats that Pillow does not know, chosen by a file's first bytes."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfsup.data.readers.extras import library
from selfsup.data.readers.opening import opened, require_small
from selfsup.data.readers.values import Stored, kind_of

HEAD = 132  # bytes that tell the formats apart
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


class Numbers(NamedTuple):
    """A picture stored as numbers, which are read on demand.

    Attributes:
        height, width: in pixels.
        read: gives the numbers.
        pictures: in the file.
    """

    height: int
    width: int
    read: Callable[[], Stored]
    pictures: int = 1


def format_of(head: bytes) -> str:
    """The format that a file's first 132 bytes show: "dicom", "numpy", "heif" or "".

    >>> format_of(b"\\x93NUMPY" + bytes(126)), format_of(bytes(128) + b"DICM"), format_of(b"GIF89a")
    ('numpy', 'dicom', '')
    """
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x93NUMPY"):
        return "numpy"
    return "heif" if head[4:8] == b"ftyp" and head[8:12] in _HEIF else ""


def decoded(function: Callable[[Any], Any], file: str | Path | bytes) -> Numbers:
    """What a function of the user's makes of a file: numbers (H, W) or (H, W, C).

    Raises:
        ValueError: it gives something else, or raises; the reason is in the message.
    """
    called = getattr(function, "__qualname__", str(function))
    with opened(file) if isinstance(file, bytes) else nullcontext() as stream:
        try:
            found = function(os.fspath(file) if stream is None else stream)
        except MemoryError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{called} raised {type(error).__name__}{reason and f': {reason}'}") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{called} gave {type(found).__name__}, not an array (H, W) or (H, W, C)")
    if found.ndim not in (2, 3) or found.dtype.kind not in "uif" or not found.size:
        raise ValueError(f"{called} gave {found.dtype} {found.shape}, not numbers (H, W) or (H, W, C)")
    return Numbers(found.shape[0], found.shape[1], lambda: _stored(found))


def open_numpy(file: str | Path | bytes) -> Numbers:
    """A .npy file with one picture: (H, W), (H, W, C), or (C, H, W) where only the first can be channels.

    Raises:
        ValueError, OSError: it is damaged, or holds something else.
    """
    with opened(file) as stream:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"NumPy's format {version} is for names in structures, which no picture has")
        shape, by_column, kind = header[version](stream)
        start, length = stream.tell(), stream.seek(0, os.SEEK_END)
    if len(shape) not in (2, 3) or kind.kind not in "uif" or 0 in shape:
        raise ValueError(f"an array of {kind} {shape}, not a picture (H, W) or (H, W, C) of numbers")
    size = int(np.prod(shape, dtype=object)) * kind.itemsize
    if size > length - start:
        raise ValueError("it is cut off")
    require_small(size, "an array")

    def read() -> Stored:
        with opened(file) as stream:
            stream.seek(start)
            flat = np.frombuffer(stream.read(size), kind)
        values = flat.reshape(shape, order="F" if by_column else "C")
        return _stored(values.transpose(1, 2, 0) if _channels_first(shape) else values)

    height, width = shape[1:] if _channels_first(shape) else shape[:2]
    return Numbers(height, width, read)


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] > 16 >= shape[0]


def _stored(values: np.ndarray) -> Stored:
    return Stored(np.ascontiguousarray(values, values.dtype.newbyteorder("=")), kind_of(values.dtype))


def open_heif(file: str | Path | bytes) -> Any:
    """A HEIC or HEIF as Pillow's image, upright, not decoded.

    Raises:
        ValueError: the package is missing, or the file damaged.
    """
    library("pillow_heif", "HEIC").options.DECODE_THREADS = 1
    from pillow_heif import HeifImageFile

    return HeifImageFile(opened(file) if isinstance(file, bytes) else os.fspath(file))


def wide_heif(file: str | Path | bytes) -> Stored | None:
    """The numbers of a HEIC of more than 8 bits; None for 8."""
    heif = library("pillow_heif", "HEIC").open_heif(
        opened(file) if isinstance(file, bytes) else os.fspath(file), convert_hdr_to_8bit=False
    )
    bits = int(heif.info.get("bit_depth", 8))
    if bits <= 8:
        return None
    values = np.asarray(heif) >> (16 - bits)
    kind = kind_of(np.dtype("u2"), bits)
    alpha = values[..., -1] if values.ndim == 3 and values.shape[2] in (2, 4) else None
    colours = values if alpha is None else values[..., :-1]
    if colours.ndim == 3 and colours.shape[2] == 1:
        colours = colours[..., 0]
    return Stored(colours, kind, alpha=alpha)
