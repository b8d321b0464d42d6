"""Opening an image without decoding it, within bounds of memory whatever its header claims."""

import io
import logging
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from selfsup.data.readers.tiff import Page, first_page

LARGEST_JPEG = 2**30  # pixels of a JPEG, which is decoded smaller if it has more than other images may have
LARGEST_TIFF = 2**34  # pixels of a TIFF, which is subsampled if it has more than other images may have
LARGEST = 2**31  # bytes of a picture's numbers
_PIXELS_A_BYTE = 512  # of a JPEG at most: a block of 64 takes a bit

# PIL warns at half the size that it refuses, once in each loading process, without naming the image; such
# pictures are read as any other, and those that it refuses are reported. So are the TIFFs of many bands,
# about which it complains on the terminal.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)


def opened(file: str | Path | bytes) -> IO[bytes]:
    """The file's bytes as a stream."""
    return io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb")


class UnreadableImage(Exception):
    """An image that cannot be decoded: `name` is its display name, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read image {self.name!r}: {self.reason}"


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn any exception of a decoder into an :class:`UnreadableImage`."""
    try:
        yield
    # On damaged files decoders raise nearly anything: OSError, SyntaxError, ValueError, EOFError,
    # RuntimeError, struct.error, IndexError, zlib.error, DecompressionBombError.
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(name, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return " ".join(str(error).split()) or type(error).__name__


def require_file(file: str | Path, name: str) -> None:
    """Raise an UnreadableImage unless it is a plain file that is not empty."""
    # Opening a named pipe would wait for ever, so anything but a plain file is refused first.
    if os.path.islink(file) and not os.path.exists(file):
        raise UnreadableImage(name, "it is a broken link")
    if not os.path.isfile(file):
        raise UnreadableImage(name, "there is no such file")
    if os.path.getsize(file) == 0:
        raise UnreadableImage(name, "it is empty")


def open_image(file: str | Path | bytes) -> tuple[ImageFile.ImageFile | None, Page | None, int]:
    """The image as Pillow opens it, the first page of a TIFF, and the factor by which it has to be shrunk.

    The image is None for a TIFF that Pillow cannot open.

    Raises:
        ValueError: it is too large, or a TIFF of an unsupported kind.
        UnidentifiedImageError, OSError, struct.error: it is not an image, or damaged.
    """
    try:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else os.fspath(file))
    except Image.DecompressionBombError as error:
        return _huge(file, int(re.findall(r"\d+", str(error))[0]), error)
    except UnidentifiedImageError:
        with opened(file) as stream:
            page = first_page(stream)
        if page is None:
            raise
        return None, page, thinning(page)
    return image, _page(file) if image.format == "TIFF" else None, 1


def _page(file: str | Path | bytes) -> Page | None:
    """The first page of a TIFF that Pillow has opened; None where Pillow alone makes sense of its header."""
    try:
        with opened(file) as stream:
            return first_page(stream)
    except (ValueError, struct.error):
        return None


def _huge(
    file: str | Path | bytes, pixels: int, error: Exception
) -> tuple[ImageFile.ImageFile | None, Page | None, int]:
    """A JPEG or a TIFF of more pixels than other images may have, to be decoded smaller."""
    with opened(file) as stream:
        length, _ = stream.seek(0, io.SEEK_END), stream.seek(0)
        jpeg = stream.read(3) == b"\xff\xd8\xff"
        if not jpeg and (page := first_page(stream)) is not None:
            return None, page, thinning(page)
    if not jpeg or pixels > LARGEST_JPEG:
        raise ValueError(too_large(pixels)) from error
    if pixels > _PIXELS_A_BYTE * length:
        raise ValueError(
            f"its header claims {_mega(pixels)} megapixels, which {length} bytes cannot hold"
        ) from error
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(file) if isinstance(file, bytes) else os.fspath(file))
    if image.info.get("progressive"):  # whose coefficients would all be kept in memory
        image.close()
        raise ValueError(f"{too_large(pixels)}, or save it as a baseline JPEG") from error
    return image, None, _shrinking(pixels)


def _shrinking(pixels: int) -> int:
    """How many times smaller, by a power of two, an image of too many pixels comes out."""
    shrink = 1
    while pixels > shrink**2 * most_pixels() / 2:
        shrink *= 2
    return shrink


def thinning(page: Page) -> int:
    """Of how many rows and columns of a TIFF one is kept; 1 unless it has more pixels than others may have.

    Raises:
        ValueError: it has more than 2^34.
    """
    pixels = page.width * page.height
    if pixels > LARGEST_TIFF:
        raise ValueError(too_large(pixels))
    return _shrinking(pixels) if pixels > most_pixels() else 1


def require_small(size: int, what: str) -> None:
    """Raise a ValueError if the numbers of a picture, ``what`` it is, take too many bytes."""
    if size > LARGEST:
        raise ValueError(f"{what} of more than {LARGEST // 2**20} MiB of numbers; cut it into tiles")


def most_pixels() -> float:
    """Pixels that an image may have."""
    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else float("inf")


def _mega(pixels: float) -> str:
    return f"{pixels / 1e6:,.0f}"


def too_large(pixels: int) -> str:
    """Why an image with so many pixels is not read, and what to do."""
    return (
        f"it has {_mega(pixels)} megapixels, more than the {_mega(most_pixels())} that are read; cut it into "
        "tiles, as by 'magick FILE -crop 1024x1024 +repage tile-%05d.png', or shrink it, as by "
        "'magick FILE -resize 10% small.png'"
    )
