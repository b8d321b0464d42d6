"""What a file's header says of the picture that is to be read, whatever its format."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from selfsup.data.readers.formats import open_numbers
from selfsup.data.readers.numbers import Numbers, decoded
from selfsup.data.readers.opening import open_image, opened, thinning
from selfsup.data.readers.reading import Reading
from selfsup.data.readers.stacks import Stack, describe_stack, read_stack
from selfsup.data.readers.tiff import Page, page_at, pages_of
from selfsup.data.readers.values import Stored
from selfsup.data.readers.wide import packing_of

SIDEWAYS = (5, 6, 7, 8)  # turns that exchange height and width
_ONE_PICTURE = ("MPO", "PSD", "ICO", "ICNS", "HEIF")  # formats whose other frames are not other pictures


@dataclass
class Header:
    """A picture whose header alone has been read; one of its first three attributes decodes it.

    Attributes:
        image: as Pillow opens it.
        page: of a TIFF.
        found: of numbers.
        how: the layout of the image's numbers (:func:`~selfsup.data.readers.wide.packing_of`).
        turn: that makes it upright, as EXIF numbers it.
        shrink: how many times smaller it has to be decoded, at least.
        count: the file's pages, where they have been counted; else 1.
    """

    image: ImageFile.ImageFile | None = None
    page: Page | None = None
    found: Numbers | None = None
    how: Any = None
    turn: int = 1
    shrink: int = 1
    count: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        for each in (self.found, self.image, self.page):
            if each is not None:
                height, width = each.height, each.width
                return (width, height) if self.turn in SIDEWAYS else (height, width)
        raise AssertionError

    def pages(self, file: str | Path | bytes) -> str:
        """How many pages the file has, in words; "" if one."""
        if self.found is not None:
            return f"{self.found.pictures} frames" if self.found.pictures > 1 else ""
        if self.page is not None:
            with opened(file) as stream:
                count = len(pages_of(stream))
            return f"{count} pages" if count > 1 else ""
        return "several frames" if self.image is not None and _frames(self.image) else ""


def read_header(file: str | Path | bytes, reading: Reading, number: int | None) -> Header:
    """The header of the page that a reading asks for, or of the one with a number, from 0.

    Raises:
        ValueError, OSError or a decoder's own error: the file is damaged, or not a picture.
    """
    header = Header()

    def choose(count: int) -> int:
        header.count = count if reading.pages != "first" else 1
        return reading.page(count) if number is None else min(number, count - 1)

    if reading.decode is not None:
        header.found = decoded(reading.decode, file)
        return header
    try:
        header.image, header.page, header.shrink = open_image(file)
    except UnidentifiedImageError:
        header.found, header.image = open_numbers(file, choose)
        if header.found is header.image is None:
            raise
    if header.page is not None and (reading.whole or reading.pages != "first"):
        _find_page(header, file, reading, choose)
    elif header.image is not None and reading.pages != "first" and _frames(header.image):
        header.image.seek(choose(int(getattr(header.image, "n_frames", 1))))
    if header.page is not None and header.image is None:
        if reason := header.page.refusal(reading.whole):
            raise ValueError(reason)
        header.turn = header.page.turn
    elif header.image is not None:
        header.how = packing_of(header.image)  # which is forgotten when EXIF makes PIL load a PNG
        # PIL turns a TIFF when it loads it, and has the size it will have then.
        header.turn = 1 if header.image.format == "TIFF" else orientation(header.image)
    return header


def _find_page(header: Header, file: str | Path | bytes, reading: Reading, choose: Any) -> None:
    """The page of a TIFF, or the picture of a stack, that the reading asks for."""
    assert header.page is not None
    with opened(file) as stream:
        if header.page.stacked:
            stack = describe_stack(stream)
            read = partial(_read_stack, file, stack, choose(stack.count))
            header.found = Numbers(stack.height, stack.width, read, stack.count)
            header.image = header.page = None
        elif reading.pages != "first":
            places = pages_of(stream)
            if place := places[choose(len(places))]:
                header.page = page_at(stream, place)
                header.shrink = thinning(header.page) if header.page is not None else 1
                if header.image is not None:
                    header.image.seek(place)


def _read_stack(file: str | Path | bytes, stack: Stack, number: int) -> Stored:
    with opened(file) as stream:
        return read_stack(stream, stack, number)


def _frames(image: ImageFile.ImageFile) -> bool:
    """Whether there are several, and others than the first are other pictures."""
    return image.format not in _ONE_PICTURE and bool(getattr(image, "is_animated", False))


def orientation(image: Image.Image) -> int:
    """As EXIF numbers it."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)
