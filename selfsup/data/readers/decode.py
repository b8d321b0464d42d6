"""From an encoded image to the pixels that a person sees, as uint8 RGB, or to the bands that it stores."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsup.data.readers.channels import bytes_of, luma, selected
from selfsup.data.readers.header import Header, orientation, read_header
from selfsup.data.readers.opening import UnreadableImage, opened, readable, require_file
from selfsup.data.readers.reading import USUAL, Reading
from selfsup.data.readers.rgb import LARGE, mapped, tensor_of, uncopied
from selfsup.data.readers.tiff_numbers import plausible, read_stored
from selfsup.data.readers.values import Range, Stored, kind_of
from selfsup.data.readers.wide import read_wide

__all__ = ["Picture", "UnreadableImage", "decode"]

ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG = ("JPEG", "MPO")  # the second is a phone's format for several JPEGs in one file
_SHRINKABLE = ("L", "LA", "RGB", "RGBA", "CMYK")  # modes that PIL can average


class Picture:
    """An image whose header alone has been read.

    Args:
        file: a path, encoded bytes, or numbers: (C, H, W), or (1, H, W) of grey; integers or floats.
        name: the display name.
        range: stored values that become black and white, linearly; what is outside is clipped. None: those of
            their type: 0 to 255 of 8 bits, 0 to 65535 of 16, 0 to 4095 of a TIFF that declares 12, 0 to 1
            of floats; of DICOM those of its window. See `Stored.eight_bits` for the formula.
        reading: which channels to take, and from which page.
        page: counted from 0; None: as the reading says.

    Attributes:
        height, width: in pixels, upright.
        count: pages, if the reading asks for more than the first; else 1.
        stored: once decoded, the numbers in the file, if they are not 8 bits of colours; else None.
        bands: once decoded, how bands beyond the colours are used, in words; "" if there are none.

    Raises:
        UnreadableImage: if the file is missing, empty, no image, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`, 179 million, pixels: a decompression bomb. A baseline JPEG may have
            2^30, and a TIFF 2^34; they come out 2, 4 or more times smaller where they have more than the
            others may.
    """

    def __init__(
        self,
        file: str | Path | bytes | Tensor,
        name: str,
        range: Range | None = None,
        reading: Reading = USUAL,
        page: int | None = None,
    ) -> None:
        self._file, self._name, self._range, self._reading = file, name, range, reading
        self._number = page
        self.stored: Stored | None = None
        self.bands, self.count = "", 1
        self._header = Header()
        if isinstance(file, Tensor):
            self.height, self.width = file.shape[1:]
            return
        if isinstance(file, bytes):
            if not file:
                raise UnreadableImage(name, "it is empty")
        else:
            require_file(file, name)
        with readable(name):
            self._header = read_header(file, reading, page)
            self.height, self.width = self._header.size
        self.count = self._header.count
        if not self.width * self.height:
            raise UnreadableImage(name, "it has no pixels")

    def pixels(self, shrink: float = 1) -> Tensor:
        """Decode, once.

        Of three channels, grey is replicated, transparency is laid on white, values are brought to 8 bits by
        the range, palettes, CMYK and colours with an embedded profile are converted to sRGB, and the rotation
        that a camera noted in EXIF is applied. A profile that is damaged, or of more than 8 bits, is ignored.
        One channel is the luma of these. Other channels are the bands, as stored, and those that the reading
        names.

        In images of more than 8 bits, pixels without data, which are NaN, infinite, the value in GDAL's tag
        or the padding of DICOM, become black.

        The fourth band of a TIFF or a JPEG 2000 counts as transparency only if a file without a map's tags
        declares it so, at least half of it is clear or opaque, and some of it is opaque.

        Args:
            shrink: how many times smaller the picture may come out where that spares time or memory:
                a JPEG by 2, 4 or 8 without decoding all of it, others by a whole number if they are
                huge. Sides are rounded up.

        Returns:
            uint8 (C, H, W); of colours a view of PIL's memory, in which a fourth byte follows each three,
            where PIL has it in one piece, up to 4 million pixels, and channels last in memory of others.

        Raises:
            UnreadableImage: if the file is damaged, of an unsupported kind, or has other bands.
        """
        with self._decoding():
            if (stored := self._numbers()) is not None:
                return self._channels(mapped(stored, self._range, self._reading.channels))
            if isinstance(self._file, Tensor):
                return self._channels(self._file)
            return self._channels(tensor_of(self._load(shrink), self._range))

    def around(self, boxes: Sequence[Sequence[int]], shrink: float = 1) -> tuple[Tensor, list[list[int]]]:
        """Decode, once, and convert only the smallest part that contains the boxes.

        Args:
            boxes: each (top, left, height, width) in the whole picture.
            shrink: as for `pixels`, and with the same errors.

        Returns:
            The part, as `pixels` gives it, but for colours with PIL's fourth byte, which means nothing, as a
            fourth channel: torch resizes that without a copy. And the boxes in it, to the nearest of its
            pixels.
        """
        with self._decoding():
            if (stored := self._numbers()) is not None:
                boxes, (top, left, bottom, right) = self._placed(boxes, *stored.values.shape[:2])
                cut = stored.part(top, left, bottom, right)
                part = mapped(cut, self._range, self._reading.channels)
            elif isinstance(self._file, Tensor):
                return self._channels(self._file), [list(box) for box in boxes]
            else:
                image = self._load(shrink)
                boxes, (top, left, bottom, right) = self._placed(boxes, image.height, image.width)
                if (pixels := uncopied(image, self._range)) is not None:
                    part = pixels[:, top:bottom, left:right]
                else:
                    part = tensor_of(image.crop((left, top, right, bottom)), self._range)
            part = part if self._reading.channels == 3 else self._channels(part)
        return part, [[box[0] - top, box[1] - left, *box[2:]] for box in boxes]

    def _channels(self, pixels: Tensor) -> Tensor:
        if self._reading.channels == 3:
            return pixels if len(pixels) == 3 else pixels[:3]
        return pixels if self._reading.whole else luma(pixels)

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
        if self._number is not None or isinstance(self._file, Tensor):
            return ""
        with readable(self._name):
            return self._header.pages(self._file)

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        with readable(self._name), self._header.image or nullcontext():
            yield

    def _numbers(self) -> Stored | None:
        """What the file stores, unless PIL's 8 bits are the same."""
        if (found := self._read_numbers()) is None:
            return None
        found = selected(found, self._reading)
        self.stored = found
        if self._range is None:
            found.require_own_range()
        return found

    def _read_numbers(self) -> Stored | None:
        if isinstance(self._file, Tensor):
            colours = self._file.shape[0] == self._reading.channels == 3 and not self._reading.bands
            if self._file.dtype == torch.uint8 and self._range is None and colours:
                return None
            values = self._file.numpy()
            return Stored(values.transpose(1, 2, 0) if len(values) > 1 else values[0], kind_of(values.dtype))
        header, every = self._header, self._reading.whole
        page, image = header.page, header.image
        if header.found is not None:
            return header.found.read()
        if page is None:
            assert image is not None
            found = read_wide(image, header.how, self._file)
            if found is None and every:
                return bytes_of(self._load(1))
            return None if found is None else found.turned(header.turn)
        eight = page.bits == 8 and image is not None
        if every and image is not None and (not page.numeric or (eight and page.packed_otherwise)):
            return bytes_of(self._load(1))
        if not every and image is not None and (page.plain or (page.packed_otherwise and eight)):
            return None
        with opened(self._file) as file:
            found = read_stored(file, page, every, header.shrink)
        if every:
            return found
        if found.alpha is None:
            self.bands = page.left_out()
            return found
        # PIL's own compositing on white, as always for 8 bits.
        return None if eight else found

    def _load(self, shrink: float) -> Image.Image:
        assert self._header.image is not None
        image: Image.Image = self._header.image
        shrink = max(shrink, self._header.shrink)
        if self._header.image.format in _JPEG:
            # To the smallest of the sizes that are 1, 1/2, 1/4 and 1/8 and at least as large as this.
            size = max(1, int(image.width / shrink)), max(1, int(image.height / shrink))
            self._header.image.draft(image.mode, size)
        elif shrink >= 2 and image.width * image.height > LARGE and image.mode in _SHRINKABLE:
            image = image.reduce(int(shrink))
        image.load()
        return _upright(image if self._reading.whole else self._without_a_band(image))

    def _without_a_band(self, image: Image.Image) -> Image.Image:
        """The colours alone where the last band, in a format that may hold any, is not transparency."""
        page, opened_as = self._header.page, self._header.image and self._header.image.format
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


def _upright(image: Image.Image) -> Image.Image:
    """`PIL.ImageOps.exif_transpose` without writing EXIF again, which fails on odd but harmless tags."""
    turn = ORIENTATION.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def _scaled(box: Sequence[int], down: float, across: float) -> list[int]:
    """The box in a picture that was decoded smaller, to the nearest pixel of it."""
    if down == across == 1:
        return list(box)
    top, bottom = round(box[0] * down), round((box[0] + box[2]) * down)
    left, right = round(box[1] * across), round((box[1] + box[3]) * across)
    return [top, left, max(1, bottom - top), max(1, right - left)]
