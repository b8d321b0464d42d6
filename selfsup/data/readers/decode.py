"""From an encoded image to the pixels that a person sees, as uint8 RGB."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from selfsup.data.readers.opening import open_image, opened
from selfsup.data.readers.rgb import LARGE, mapped, tensor_of, uncopied
from selfsup.data.readers.tiff import Page, count_pages
from selfsup.data.readers.tiff_numbers import plausible, read_stored
from selfsup.data.readers.values import Range, Stored, kind_of
from selfsup.data.readers.wide import packing_of, read_wide

ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_JPEG = ("JPEG", "MPO")  # the second is a phone's format for several JPEGs in one file
_ONE_PICTURE = ("MPO", "PSD", "ICO", "ICNS")  # formats whose other frames are not other pictures
_SHRINKABLE = ("L", "LA", "RGB", "RGBA", "CMYK")  # modes that PIL can average


class UnreadableImage(Exception):
    """An image that cannot be decoded: `name` is its display name, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read image {self.name!r}: {self.reason}"


class Picture:
    """An image whose header alone has been read.

    Args:
        file: a path, encoded bytes, or numbers: (3, H, W), or (1, H, W) of grey; integers or floats.
        name: the display name.
        range: stored values that become black and white, linearly; what is outside is clipped. None: those of
            their type: 0 to 255 of 8 bits, 0 to 65535 of 16, 0 to 4095 of a TIFF that declares 12, 0 to 1
            of floats. See `Stored.eight_bits` for the formula.

    Attributes:
        height, width: in pixels, upright.
        stored: once decoded, the numbers in the file, if they are not 8 bits of colours; else None.
        bands: once decoded, how bands beyond the colours are used, in words; "" if there are none.

    Raises:
        UnreadableImage: if the file is missing, empty, no image, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`, 179 million, pixels: a decompression bomb. A baseline JPEG may have
            2^30, and comes out 2, 4 or 8 times smaller where it has more than the others may.
    """

    def __init__(self, file: str | Path | bytes | Tensor, name: str, range: Range | None = None) -> None:
        self._file, self._name, self._range = file, name, range
        self.stored: Stored | None = None
        self.bands = ""
        self._image: ImageFile.ImageFile | None = None
        self._page: Page | None = None
        self._how: Any = None
        self._turn, self._least_shrink = 1, 1
        if isinstance(file, Tensor):
            self.height, self.width = file.shape[1:]
            return
        if isinstance(file, bytes):
            if not file:
                raise UnreadableImage(name, "it is empty")
        else:
            _check_file(file, name)
        with _readable(name):
            self._image, self._page, self._least_shrink = open_image(file)
            if self._image is None:
                assert self._page is not None
                width, height, self._turn = self._page.width, self._page.height, self._page.turn
            else:
                self._how = packing_of(self._image)  # which is forgotten when EXIF makes PIL load a PNG
                (width, height), turn = self._image.size, _orientation(self._image)
                # PIL turns a TIFF when it loads it, and has the size it will have then.
                self._turn = 1 if self._image.format == "TIFF" else turn
        if not width * height:
            raise UnreadableImage(name, "it has no pixels")
        self.height, self.width = (width, height) if self._turn in _SIDEWAYS else (height, width)

    def pixels(self, shrink: float = 1) -> Tensor:
        """Decode, once.

        Grey is replicated to three channels, transparency is laid on white, values are brought to 8 bits by
        the range, palettes, CMYK and colours with an embedded profile are converted to sRGB, and the rotation
        that a camera noted in EXIF is applied. A profile that is damaged, or of more than 8 bits, is ignored.
        The first of several pages, or of an animation, is used. In images of more than 8 bits, pixels without
        data, which are NaN, infinite, or the value in GDAL's tag, become black.

        The fourth band of a TIFF or a JPEG 2000 counts as transparency only if a file without a map's tags
        declares it so, at least half of it is clear or opaque, and some of it is opaque.

        Args:
            shrink: how many times smaller the picture may come out where that spares time or memory:
                a JPEG by 2, 4 or 8 without decoding all of it, others by a whole number if they are
                huge. Sides are rounded up.

        Returns:
            uint8 (3, H, W); a view of PIL's memory, in which a fourth byte follows each three, where PIL
            has it in one piece, up to 4 million pixels, and channels last in memory of any other encoded one.

        Raises:
            UnreadableImage: if the file is damaged, or of an unsupported kind.
        """
        with self._decoding():
            if (stored := self._numbers()) is not None:
                return mapped(stored, self._range)[:3]
            if isinstance(self._file, Tensor):
                return self._file
            return tensor_of(self._load(shrink), self._range)[:3]

    def around(self, boxes: Sequence[Sequence[int]], shrink: float = 1) -> tuple[Tensor, list[list[int]]]:
        """Decode, once, and convert only the smallest part that contains the boxes.

        Args:
            boxes: each (top, left, height, width) in the whole picture.
            shrink: as for `pixels`, and with the same errors.

        Returns:
            The part, as `pixels` gives it, but with PIL's fourth byte, which means nothing, as a fourth
            channel: torch resizes that without a copy. And the boxes in it, to the nearest of its pixels.
        """
        with self._decoding():
            if (stored := self._numbers()) is not None:
                boxes, (top, left, bottom, right) = self._placed(boxes, *stored.values.shape[:2])
                part = mapped(stored.part(top, left, bottom, right), self._range)
            elif isinstance(self._file, Tensor):
                return self._file, [list(box) for box in boxes]
            else:
                image = self._load(shrink)
                boxes, (top, left, bottom, right) = self._placed(boxes, image.height, image.width)
                if (pixels := uncopied(image, self._range)) is not None:
                    part = pixels[:, top:bottom, left:right]
                else:
                    part = tensor_of(image.crop((left, top, right, bottom)), self._range)
        return part, [[box[0] - top, box[1] - left, *box[2:]] for box in boxes]

    def _placed(
        self, boxes: Sequence[Sequence[int]], height: int, width: int
    ) -> tuple[list[list[int]], tuple[int, int, int, int]]:
        """The boxes in a picture that came out of that size; and top, left, bottom and right of them all."""
        placed = [_scaled(box, height / self.height, width / self.width) for box in boxes]
        first = min(box[0] for box in placed), min(box[1] for box in placed)
        last = max(box[0] + box[2] for box in placed), max(box[1] + box[3] for box in placed)
        return placed, (*first, *last)

    def pages(self) -> str:
        """How many pages the file has, in words; "" if one. Call it before decoding."""
        if self._page is not None and not isinstance(self._file, Tensor):
            with _readable(self._name), opened(self._file) as file:
                count = count_pages(file)
            return f"{count} pages" if count > 1 else ""
        image = self._image
        if image is None or image.format in _ONE_PICTURE or not getattr(image, "is_animated", False):
            return ""
        return "several frames"

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        with _readable(self._name):
            if self._image is None:
                yield
            else:
                with self._image:
                    yield

    def _numbers(self) -> Stored | None:
        """What the file stores, unless PIL's 8 bits are the same."""
        self.stored = found = self._read_numbers()
        if found is not None and self._range is None:
            found.require_own_range()
        return found

    def _read_numbers(self) -> Stored | None:
        if isinstance(self._file, Tensor):
            if self._file.dtype == torch.uint8 and self._file.shape[0] == 3 and self._range is None:
                return None
            values = self._file.numpy()
            return Stored(values.transpose(1, 2, 0) if len(values) == 3 else values[0], kind_of(values.dtype))
        page = self._page
        if page is None:
            assert self._image is not None
            found = read_wide(self._image, self._how, self._file)
            return None if found is None else found.turned(self._turn)
        if page.plain or (page.packed_otherwise and page.bits == 8 and self._image is not None):
            return None
        with opened(self._file) as file:
            found = read_stored(file, page)
        if found.alpha is None:
            self.bands = page.left_out()
            return found
        # PIL's own compositing on white, as always for 8 bits.
        return None if page.bits == 8 and self._image is not None else found

    def _load(self, shrink: float) -> Image.Image:
        assert self._image is not None
        image: Image.Image = self._image
        shrink = max(shrink, self._least_shrink)
        if self._image.format in _JPEG:
            # To the smallest of the sizes that are 1, 1/2, 1/4 and 1/8 and at least as large as this.
            size = max(1, int(image.width / shrink)), max(1, int(image.height / shrink))
            self._image.draft(image.mode, size)
        elif shrink >= 2 and image.width * image.height > LARGE and image.mode in _SHRINKABLE:
            image = image.reduce(int(shrink))
        image.load()
        return _upright(self._without_a_band(image))

    def _without_a_band(self, image: Image.Image) -> Image.Image:
        """The colours alone where the last band, in a format that may hold any, is not transparency."""
        page, opened_as = self._page, "" if self._image is None else self._image.format
        if image.mode not in ("RGBA", "LA") or opened_as not in ("TIFF", "JPEG2000"):
            return image
        if (page is None or page.maybe_transparent) and plausible(np.asarray(image.getchannel("A")), 255):
            return image
        self.bands = f"{len(image.mode)} bands of uint8 (the last is not used)"
        return image.convert(image.mode[:-1])


def decode(file: str | Path | bytes, name: str, range: Range | None = None) -> Tensor:
    """Decode one image in full: uint8 (3, H, W), contiguous. See :class:`Picture`.

    >>> import io
    >>> wide = Image.fromarray(np.array([[0, 16, 2040, 4080, 9999]], np.uint16))
    >>> file = io.BytesIO()
    >>> wide.save(file, "PNG")
    >>> decode(file.getvalue(), "wide", (0, 4080))[0].tolist()
    [[0, 1, 128, 255, 255]]
    """
    return Picture(file, name, range).pixels().contiguous()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn any exception of a decoder into an :class:`UnreadableImage`."""
    try:
        yield
    # On damaged files decoders raise nearly anything: OSError, SyntaxError, ValueError, EOFError,
    # RuntimeError, struct.error, IndexError, zlib.error, DecompressionBombError.
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(name, _reason(error)) from error


def _check_file(file: str | Path, name: str) -> None:
    # Opening a named pipe would wait for ever, so anything but a plain file is refused first.
    if os.path.islink(file) and not os.path.exists(file):
        raise UnreadableImage(name, "it is a broken link")
    if not os.path.isfile(file):
        raise UnreadableImage(name, "there is no such file")
    if os.path.getsize(file) == 0:
        raise UnreadableImage(name, "it is empty")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(image: Image.Image) -> Image.Image:
    """`PIL.ImageOps.exif_transpose` without writing EXIF again, which fails on odd but harmless tags."""
    turn = ORIENTATION.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _scaled(box: Sequence[int], down: float, across: float) -> list[int]:
    """The box in a picture that was decoded smaller, to the nearest pixel of it."""
    if down == across == 1:
        return list(box)
    top, bottom = round(box[0] * down), round((box[0] + box[2]) * down)
    left, right = round(box[1] * across), round((box[1] + box[3]) * across)
    return [top, left, max(1, bottom - top), max(1, right - left)]
