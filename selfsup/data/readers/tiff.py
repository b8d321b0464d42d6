"""The header of a TIFF: the content of its pages, whether Pillow decodes them correctly, and if not, why.

TIFF Revision 6.0 (Adobe 1992), with GeoTIFF's and GDAL's tags.
"""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import numpy as np

from selfsup.data.readers.values import Kind, kind_of

_MOST_PAGES = 10_000
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
_PACKINGS = (
    1,
    5,
    8,
    32946,
    32773,
    34925,
    50000,
)  # none, LZW, deflate by two numbers, PackBits, LZMA, Zstandard
_OTHERS = {6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}  # bands of a photometry
_GREY, _RGB, _WHITE_IS_ZERO = (0, 1), 2, 0
_GEOGRAPHIC = (33550, 34264, 34735, 42112, 42113)  # of GeoTIFF and GDAL
_READ = {254, *range(256, 300), 317, *range(322, 326), 338, 339, *_GEOGRAPHIC}
_COPIES = 5  # bits of tag 254: a smaller copy of a page, a mask
_STACKS = (b"ImageJ=", b"<OME")  # what tag 270 holds of files whose pages may be channels, too


@dataclass(frozen=True)
class Page:
    """A TIFF's description of one of its pages.

    Attributes:
        order: "<" or ">", of bytes.
        tags: values by the number of their tag.
        length: bytes of the file.
        place: of its directory in the file, from 0.
    """

    order: str
    tags: dict[int, tuple[Any, ...]]
    length: int
    place: int = 0

    def one(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return int(self.tags[tag][0]) if self.tags.get(tag) else default

    @property
    def width(self) -> int:
        return self.one(256)

    @property
    def height(self) -> int:
        return self.one(257)

    @property
    def bits(self) -> int:
        """Of each band; 0 where they differ."""
        return self.one(258, 1) if len(set(self.tags.get(258, (1,)))) == 1 else 0

    @property
    def bands(self) -> int:
        return self.one(277, 1)

    @property
    def photometry(self) -> int:
        return self.one(262, 1)

    @property
    def further(self) -> int:
        """Bands beyond the colours."""
        return self.bands - _COLOURS.get(self.photometry, self.bands)

    @property
    def turn(self) -> int:
        """Orientation, as EXIF numbers it."""
        return self.one(274, 1)

    @property
    def number(self) -> str:
        """The type of a number: u unsigned, i signed, f float; "" for others."""
        return {1: "u", 2: "i", 3: "f", 4: "u"}.get(self.one(339, 1), "")

    @property
    def plain(self) -> bool:
        """Whether Pillow decodes exactly these pixels: unsigned, of 1, 2, 4 or 8 bits, all of them
        colours."""
        known = self.number == "u" and self.bits in (1, 2, 4, 8)
        if self.bits == 8 and self.inverted and not self.packed_otherwise:
            return False  # Pillow inverts, and a range refers to the numbers as stored
        return known and (self.further == 0 or self.photometry not in (*_GREY, _RGB))

    @property
    def packed_otherwise(self) -> bool:
        """Whether the bytes are compressed as pixels, such as by JPEG."""
        return self.one(259, 1) not in _PACKINGS

    @property
    def maybe_transparent(self) -> bool:
        """Whether the band behind the colours is declared to be transparency, by a file that is not a map.

        GDAL declares the fourth of four bands so, whatever it is.
        """
        declared = self.one(338, 2 if self.photometry == _RGB else 0) in (1, 2)
        return self.further == 1 and declared and not any(tag in self.tags for tag in _GEOGRAPHIC)

    @property
    def premultiplied(self) -> bool:
        return self.one(338) == 1

    @property
    def inverted(self) -> bool:
        return self.photometry == _WHITE_IS_ZERO

    @property
    def kind(self) -> Kind:
        """Of the numbers; a file may say that it uses fewer bits than it has room for (MaxSampleValue)."""
        most = self.one(281)
        declared = most.bit_length() if most & (most + 1) == 0 else 0
        bits = declared if self.number == "u" and 8 < declared < self.bits else self.bits
        return kind_of(self.dtype, bits)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers once unpacked, in this machine's order."""
        return np.dtype(f"{self.number}{1 << max(0, math.ceil(self.bits / 8) - 1).bit_length()}")

    def called(self) -> str:
        """Such as "13 bands of uint16"."""
        number = {"u": "uint", "i": "int", "f": "float"}.get(self.number, "other numbers of ")
        return f"{self.bands} band{'s' * (self.bands > 1)} of {number}{self.bits}"

    def used(self) -> int:
        """How many bands are read: 1 or 3; 0 where it is not known which."""
        if self.photometry == _RGB and self.bands >= 3:
            return 3
        return {1: 1, 2: 1, 3: 3, 4: 3}.get(self.bands, 0) if self.photometry in _GREY else 0

    def left_out(self) -> str:
        """The use of bands beyond the colours, in words; "" if there are none."""
        if self.plain or self.bands in (1, 3):
            return ""
        which = "first three used as red, green and blue" if self.used() == 3 else "first used as grey"
        return f"{self.called()} (the {which})"

    @property
    def numeric(self) -> bool:
        """Whether its bands are numbers that mean themselves, rather than a palette, inks or luminances."""
        return self.photometry in (*_GREY, _RGB)

    @property
    def stacked(self) -> bool:
        """Whether the file says which of its pages are channels of one picture."""
        text = self.tags.get(270, ())
        return any(mark in bytes(text[:2048]) for mark in _STACKS)

    def refusal(self, every: bool = False) -> str | None:
        """Why its numbers mean nothing that is known, or None; ``every`` band is wanted, not the colours."""
        whole = self.bits in (8, 16, 32, 64) if self.number != "f" else self.bits in (16, 32, 64)
        if not (self.number and (whole or (self.number == "u" and 0 < self.bits < 32))):
            return f"a TIFF of {self.called()}, which is not read"
        if not self.numeric:
            return (
                f"a TIFF of {self.called()} as photometry {self.photometry}, which is read with 8 bits only"
            )
        if not every and not self.used():
            return (
                f"a TIFF of {self.called()}; only 1 to 4 bands, or red, green and blue and others, "
                f"are read as colours; set data.channels={self.bands}, or choose by data.bands=[1,2,3]"
            )
        return None

    def packed(self) -> str | None:
        """What of its packing is not unpacked here, or None."""
        if self.packed_otherwise:
            compression = self.one(259, 1)
            return f"compressed by {_OTHERS.get(compression, f'method {compression}')}"
        predictor = self.one(317, 1)
        if self.one(266, 1) != 1 or predictor not in (1, 2, 3) or (predictor > 1 and self.bits % 8):
            return "whose bits are in an order that is not read"
        return None


def first_page(file: IO[bytes]) -> Page | None:
    """The file's first page, or None if it is not a TIFF. Only the header is read.

    Raises:
        ValueError, struct.error: the header is damaged.
    """
    return page_at(file, 0)


def page_at(file: IO[bytes], place: int) -> Page | None:
    """The page of the directory at a place, counted from 0, or None if there is none."""
    found = next(islice(_directories(file, _READ, place), place, None), None)
    return None if found is None else Page(*found, place)


def pages_of(file: IO[bytes]) -> list[int]:
    """The places of the directories of pages, without smaller copies and masks; of at most 10,000."""
    kinds = [int((tags.get(254) or (0,))[0]) for _, tags, _ in _directories(file, {254})]
    return [place for place, kind in enumerate(kinds) if not kind & _COPIES] or [0]


def _directories(
    file: IO[bytes], wanted: set[int], first: int = 0
) -> Iterator[tuple[str, dict[int, tuple[Any, ...]], int]]:
    """Order, tags and length, page by page, without tags before the ``first``; circles end."""
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version not in (42, 43) or len(head) < (8 if version == 42 else 16):
        return
    big = version == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        taken = wanted if len(seen) >= first else set()
        seen.add(at)
        tags, at = _directory(file, order, big, at, length, taken)
        yield order, tags, length


def _directory(
    file: IO[bytes], order: str, big: bool, at: int, length: int, wanted: set[int]
) -> tuple[dict[int, tuple[Any, ...]], int]:
    """The wanted tags of one directory, and the offset of the next."""
    count, size, long = ("Q", 20, "Q") if big else ("H", 12, "I")
    entries = struct.unpack(order + count, bytes_at(file, at, struct.calcsize("=" + count), length))[0]
    content = bytes_at(file, None, entries * size, length)
    tags: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(content), size):
        tag, kind, values = struct.unpack_from(order + "HH" + long, content, start)
        if tag not in wanted or kind not in _TYPES:
            continue
        here = start + struct.calcsize("=HH" + long)
        taken = values * struct.calcsize("=" + _TYPES[kind])
        raw = content[here : here + taken]
        if taken > struct.calcsize("=" + long):
            back = file.tell()
            raw = bytes_at(file, struct.unpack_from(order + long, content, here)[0], taken, length)
            file.seek(back)
        tags[tag] = struct.unpack(f"{order}{values}{_TYPES[kind]}", raw)
    end = file.read(struct.calcsize("=" + long))  # the last directory of a cut file may lack it
    return tags, struct.unpack(order + long, end)[0] if len(end) == struct.calcsize("=" + long) else 0


def bytes_at(file: IO[bytes], at: int | None, count: int, length: int) -> bytes:
    """So many bytes; a damaged header may ask for more than the file has."""
    at = file.tell() if at is None else at
    if at + count > length:
        raise ValueError("its header points outside of it")
    file.seek(at)
    return file.read(count)
