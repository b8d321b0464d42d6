"""From the numbers in a file to the eight bits of an encoder's input: one range for a data set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from selfsup.data.settings import range_of

__all__ = [
    "Kind",
    "Pair",
    "Range",
    "Stored",
    "as_setting",
    "byte_table",
    "in_words",
    "kind_of",
    "pairs_of",
    "range_of",
    "span",
]

Pair = tuple[float, float]
Range = Pair | tuple[Pair, ...]  # one for all channels, or one for each
STRIP = 2**22  # values that are converted together: double precision takes eight times the memory


class Kind(NamedTuple):
    """Numbers of one type: their name, and the range that becomes black to white if none is set."""

    name: str
    low: float
    high: float


BYTES = Kind("8-bit", 0, 255)
WORDS = Kind("16-bit", 0, 65535)
FLOATS = Kind("float", 0, 1)
WINDOWED = "windowed"  # the kind of numbers whose range is the window in their file


def kind_of(dtype: np.dtype[Any], bits: int | None = None) -> Kind:
    """The kind of an array's numbers; a file may use fewer ``bits`` than they have room for.

    >>> kind_of(np.dtype("uint16"), 12)
    Kind(name='12-bit', low=0, high=4095)
    >>> kind_of(np.dtype("int16"))
    Kind(name='signed 16-bit', low=-32768, high=32767)
    """
    if dtype.kind == "f":
        return FLOATS
    bits = bits or 8 * dtype.itemsize
    if dtype.kind == "i":
        return Kind(f"signed {bits}-bit", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Kind(f"{bits}-bit", 0, 2**bits - 1)


@dataclass
class Stored:
    """An image's numbers as its file has them.

    Attributes:
        values: (H, W), or (H, W, S) of colours or bands.
        kind: of the numbers.
        inverted: whether the lowest is white.
        alpha: (H, W) of the same type, the opacity of each pixel, or None.
        missing: the number that stands for no data, or None.
        shown: float (H, W) in 0 to 1, the picture without a range, where it is not linear in the values.
    """

    values: np.ndarray
    kind: Kind
    inverted: bool = False
    alpha: np.ndarray | None = None
    missing: float | None = None
    shown: np.ndarray | None = None

    def part(self, top: int, left: int, bottom: int, right: int) -> "Stored":
        """A rectangle of it."""
        return self._placed(lambda plane: plane[top:bottom, left:right])

    def turned(self, orientation: int) -> "Stored":
        """The image turned upright, by EXIF's orientation number."""

        def turn(plane: np.ndarray) -> np.ndarray:
            plane = plane[::-1] if orientation in (3, 4, 6, 7) else plane
            plane = plane[:, ::-1] if orientation in (2, 3, 7, 8) else plane
            return plane.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else plane

        return self._placed(turn)

    def _placed(self, place: Callable[[np.ndarray], np.ndarray]) -> "Stored":
        alpha, shown = (None if each is None else place(each) for each in (self.alpha, self.shown))
        return replace(self, values=place(self.values), alpha=alpha, shown=shown)

    def bands(self) -> list["Stored"]:
        """Each band by itself."""
        if self.values.ndim == 2:
            return [self]
        return [replace(self, values=self.values[..., band]) for band in range(self.values.shape[-1])]

    def known(self) -> np.ndarray:
        """All numbers that are data, in one row: without NaN, infinities and the file's missing value."""
        flat = self.values.ravel()
        return flat if (without := self.without_data()) is None else flat[~without.ravel()]

    def without_data(self) -> np.ndarray | None:
        """bool of the values' shape, True where they are NaN, infinite or missing; None if none are."""
        found = None if self.missing is None else self.values == self.missing
        if self.values.dtype.kind == "f":
            found = ~np.isfinite(self.values) if found is None else found | ~np.isfinite(self.values)
        return found if found is not None and found.any() else None

    def require_own_range(self) -> None:
        """Raise a ValueError for floats without a range that are not within 0 and 1."""
        if self.kind != FLOATS or self.shown is not None:
            return
        known = self.known()
        if not len(known) or not (known.min() >= 0 and known.max() <= 1):
            seen = f" but from {known.min():.6g} to {known.max():.6g}" if len(known) else " (it has none)"
            raise ValueError(f"its grey values are not within 0 and 1{seen}; set data.range")

    def eight_bits(self, range: Range | None = None) -> np.ndarray:
        """uint8 of the shape of the values: the range's ends become 0 and 255, what is outside is clipped.

        ``rint(255 * clip((v - low) / (high - low), 0, 1))`` in double precision, which rounds halves to even;
        of an inverted image with ``low + high - v`` for v. What is not finite, or missing, becomes 0.

        Args:
            range: of all bands, or one for each.

        Raises:
            ValueError: there are not as many ranges as bands.
        """
        if range is None and self.shown is not None:
            return replace(self, values=self.shown, kind=FLOATS, shown=None).eight_bits()
        if range is not None and isinstance(range[0], tuple):
            bands = self.bands()
            each = zip(bands, pairs_of(range, len(bands)), strict=True)
            return np.moveaxis(np.stack([band.eight_bits(pair) for band, pair in each]), 0, -1)
        low, high = (self.kind.low, self.kind.high) if range is None else pairs_of(range, 1)[0]
        values = self.values
        if values.dtype in (np.uint8, np.uint16) and self.missing is None:
            return _table(low, high, self.inverted, values.dtype.itemsize)[values]
        found = np.empty(values.shape, np.uint8)
        step = max(1, STRIP // max(1, values[0].size)) if len(values) else 1
        for top in np.arange(0, len(values), step):
            strip = values[top : top + step]
            found[top : top + step] = _scaled(strip, low, high, self.inverted)
            if self.missing is not None:
                found[top : top + step][strip == self.missing] = 0
        return found


def pairs_of(range: Range | None, channels: int) -> tuple[Pair, ...]:
    """The pair of each channel; () for no range.

    Raises:
        ValueError: the range has neither one pair nor one for each channel.

    >>> pairs_of((0, 9), 2)
    ((0, 9), (0, 9))
    """
    if range is None:
        return ()
    pairs = tuple(range if isinstance(range[0], tuple) else (range,) * channels)
    if len(pairs) != channels:
        raise ValueError(f"it has {channels} channels, and data.range has {len(pairs)} pairs")
    return pairs  # type: ignore[return-value]


def _scaled(values: np.ndarray, low: float, high: float, inverted: bool) -> np.ndarray:
    known = values.astype(np.float64)
    unknown = ~np.isfinite(known)
    known[unknown] = low
    share = ((high - known) if inverted else (known - low)) / (high - low)
    eight = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    eight[unknown] = 0
    return eight


@lru_cache(maxsize=64)
def _table(low: float, high: float, inverted: bool, size: int) -> np.ndarray:
    """The 8 bits of every number of 8 or 16."""
    return _scaled(np.arange(256**size), low, high, inverted)


def byte_table(range: Pair, inverted: bool = False) -> list[int]:
    """The images of the bytes 0 to 255; those of an inverted image are given as decoded, 0 for black."""
    table = _table(*range, inverted, 1).tolist()
    return table[::-1] if inverted else table


def in_words(range: Range) -> str:
    """As it is typed.

    >>> in_words((0.0, 0.25)), in_words(((0, 1), (7301, 8206)))
    ('[0,0.25]', '[[0,1],[7301,8206]]')
    """
    return f"[{','.join(in_words(end) if isinstance(end, tuple) else number(end) for end in range)}]"


def as_setting(range: Range | None) -> list[Any] | None:
    """As configurations and JSON have it.

    >>> as_setting(((0, 1), (0, 9)))
    [[0, 1], [0, 9]]
    """
    return None if range is None else [list(each) if isinstance(each, tuple) else each for each in range]


def span(ends: Pair, word: str = "from ") -> str:
    """Such as "from 0 to 255"."""
    return f"{word}{number(ends[0])} to {number(ends[1])}"


def number(value: float) -> str:
    """As a person writes it."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.6g}"
