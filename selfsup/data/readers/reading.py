"""Which numbers of a picture become the channels of an encoder's input. Needs no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfsup.errors import UsageError
from selfsup.sides import MOST_CHANNELS

__all__ = ["USUAL", "Reading", "reading_of"]

PAGES = ("first", "middle", "all")


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    Attributes:
        channels: of every picture: 3 are colours; 1 is grey, the luma of colours; any other number are bands.
        bands: which bands of each picture to take, counted from 1, in this order; empty: all of them.
        pages: of files that have several: "first", "middle", or "all", each a picture of its own.
        decode: a function of a path, or of a stream of encoded bytes, that gives numbers (H, W) or (H, W, C).
    """

    channels: int = 3
    bands: tuple[int, ...] = ()
    pages: str = "first"
    decode: Callable[[Any], Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether channels are bands as stored, rather than colours or their grey."""
        return bool(self.bands) or self.channels not in (1, 3)

    def page(self, count: int) -> int:
        """The number of the page to read, counted from 0, in a file with ``count`` pages.

        >>> [Reading(pages=pages).page(5) for pages in ("first", "middle")]
        [0, 2]
        """
        return count // 2 if self.pages == "middle" else 0

    def called(self) -> str:
        """The same for the same reading on every machine."""
        function = "" if self.decode is None else f"{self.decode.__module__}:{self.decode.__qualname__}"
        return f"{self.channels} {list(self.bands)} {self.pages} {function}"


USUAL = Reading()


def reading_of(data: Mapping[str, Any], decode: Callable[[Any], Any] | None = None) -> Reading:
    """The reading that a data configuration asks for by ``channels``, ``bands`` and ``pages``.

    Args:
        data: each of the three may be absent.
        decode: the function that its ``decode`` names.

    Raises:
        UsageError: one has another value, or they do not fit together.

    >>> reading_of({"channels": 2, "bands": [8, 4]}).bands
    (8, 4)
    """
    channels, pages = data.get("channels", 3), data.get("pages", "first")
    given = data.get("bands")
    bands = tuple(given) if isinstance(given, list | tuple) else () if given is None else (given,)
    if isinstance(channels, bool) or not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS:
        raise UsageError(f"data.channels has to be a whole number from 1 to {MOST_CHANNELS}, not {channels}")
    if pages not in PAGES:
        raise UsageError(f"data.pages has to be first, middle or all, not {pages!r}")
    if not all(isinstance(band, int) and not isinstance(band, bool) and band >= 1 for band in bands):
        raise UsageError(f"data.bands has to be a list of bands counted from 1, such as [4,3,2], not {given}")
    if bands and len(bands) != channels:
        written = f"data.bands=[{','.join(map(str, bands))}]"
        raise UsageError(f"{written} and data.channels={channels} do not fit; set data.channels={len(bands)}")
    return Reading(channels, bands, pages, decode)
