"""From the numbers in a file to the eight bits of an encoder's input: one range for a data set."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from selfsup.data.settings import range_of

__all__ = ["Kind", "Range", "Stored", "Tally", "byte_table", "in_words", "kind_of", "range_of"]

Range = tuple[float, float]
SAMPLED = 10_000  # values per image from which a range is measured
OUTLIERS = 0.001  # share of the values below, and of those above, a measured range
LEAST = {"8-bit": 1 / 8}  # share of its kind's range that a data set has to use
LEAST_WIDE = 1 / 3
STRIP = 2**22  # values that are converted together: double precision takes eight times the memory


class Kind(NamedTuple):
    """Numbers of one type: their name, and the range that becomes black to white if none is set."""

    name: str
    low: float
    high: float


BYTES = Kind("8-bit", 0, 255)
WORDS = Kind("16-bit", 0, 65535)
FLOATS = Kind("float", 0, 1)


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
        values: (H, W), or (H, W, 3) of colours.
        kind: of the numbers.
        inverted: whether the lowest is white.
        alpha: (H, W) of the same type, the opacity of each pixel, or None.
        missing: the number that stands for no data, or None.
    """

    values: np.ndarray
    kind: Kind
    inverted: bool = False
    alpha: np.ndarray | None = None
    missing: float | None = None

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
        alpha = None if self.alpha is None else place(self.alpha)
        return replace(self, values=place(self.values), alpha=alpha)

    def known(self) -> np.ndarray:
        """All numbers that are data, in one row: without NaN, infinities and the file's missing value."""
        flat = self.values.ravel()
        if self.missing is not None:
            flat = flat[flat != self.missing]
        return flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat

    def require_own_range(self) -> None:
        """Raise a ValueError for floats without a range that are not within 0 and 1."""
        if self.kind != FLOATS:
            return
        known = self.known()
        if not len(known) or not (known.min() >= 0 and known.max() <= 1):
            seen = f" but from {known.min():.6g} to {known.max():.6g}" if len(known) else " (it has none)"
            raise ValueError(f"its grey values are not within 0 and 1{seen}; set data.range")

    def eight_bits(self, range: Range | None = None) -> np.ndarray:
        """uint8 of the shape of the values: the range's ends become 0 and 255, what is outside is clipped.

        ``rint(255 * clip((v - low) / (high - low), 0, 1))`` in double precision, which rounds halves to even;
        of an inverted image with ``low + high - v`` for v. What is not finite, or missing, becomes 0.
        """
        low, high = range or (self.kind.low, self.kind.high)
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


def _scaled(values: np.ndarray, low: float, high: float, inverted: bool) -> np.ndarray:
    known = values.astype(np.float64)
    unknown = ~np.isfinite(known)
    known[unknown] = low
    share = ((high - known) if inverted else (known - low)) / (high - low)
    eight = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    eight[unknown] = 0
    return eight


@lru_cache(maxsize=8)
def _table(low: float, high: float, inverted: bool, size: int) -> np.ndarray:
    """The 8 bits of every number of 8 or 16."""
    return _scaled(np.arange(256**size), low, high, inverted)


def byte_table(range: Range, inverted: bool = False) -> list[int]:
    """The images of the bytes 0 to 255; those of an inverted image are given as decoded, 0 for black."""
    table = _table(*range, inverted, 1).tolist()
    return table[::-1] if inverted else table


def in_words(range: Range) -> str:
    """As it is typed.

    >>> in_words((0.0, 0.25)), in_words((7301, 8206))
    ('[0,0.25]', '[7301,8206]')
    """
    return f"[{','.join(_number(end) for end in range)}]"


def _span(ends: Range, word: str = "from ") -> str:
    return f"{word}{_number(ends[0])} to {_number(ends[1])}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.6g}"


@dataclass
class Tally:
    """The values of some images, by their kind.

    Attributes:
        ends: the lowest and the highest value of each image.
        samples: values spread evenly over each image.
    """

    ends: dict[Kind, list[tuple[float, float]]] = field(default_factory=dict)
    samples: dict[Kind, list[np.ndarray]] = field(default_factory=dict)

    def add(self, stored: Stored) -> None:
        """Count an image, unless it has no data at all."""
        known = stored.known()
        if not len(known):
            return
        # Not by whole steps, which would meet the same columns in every row.
        places = np.linspace(0, len(known) - 1, min(SAMPLED, len(known))).astype(np.int64)
        self.ends.setdefault(stored.kind, []).append((known.min().item(), known.max().item()))
        self.samples.setdefault(stored.kind, []).append(known[places])

    def take(self, other: "Tally") -> None:
        """Count another's images, too."""
        for kind in other.ends:
            self.ends.setdefault(kind, []).extend(other.ends[kind])
            self.samples.setdefault(kind, []).extend(other.samples[kind])

    def extent(self, kind: Kind) -> Range:
        """The lowest and the highest value of a kind."""
        return min(low for low, _ in self.ends[kind]), max(high for _, high in self.ends[kind])

    def range(self) -> Range | None:
        """The range of the values without 0.1 % at either end; None if all values are equal.

        If that would leave a single value, as for a few bright points on black, it is the full range.
        """
        if not self.samples:
            return None
        found = _inner(
            np.concatenate([each.astype(np.float64) for all_ in self.samples.values() for each in all_])
        )
        if found[0] == found[1]:
            extents = [self.extent(kind) for kind in self.ends]
            found = min(low for low, _ in extents), max(high for _, high in extents)
        if found[0] == found[1]:
            return None
        whole = all(kind != FLOATS for kind in self.samples)
        return (int(found[0]), int(found[1])) if whole else found

    def problem(self) -> str | None:
        """A sentence if a kind's values use a small part of its own range, or leave it; else None.

        For 8 bits an eighth is enough, and one pixel is enough to reach it: such images may be few points on
        black. For more bits it is a third, without 0.1 % of the values at either end: a camera's defective
        pixels reach its highest value in any image. Values that are all equal are checked elsewhere.
        """
        for kind in self.ends:
            low, high = self.extent(kind)
            seen = (low, high)
            if kind.name not in LEAST:
                inner = _inner(np.concatenate(self.samples[kind]))
                small = (high - low) < LEAST_WIDE * (kind.high - kind.low)
                seen = inner if not small and inner[0] < inner[1] else seen
            share = LEAST.get(kind.name, LEAST_WIDE)
            outside = low < kind.low or high > kind.high
            if low == high or not (outside or seen[1] - seen[0] < share * (kind.high - kind.low)):
                continue
            few = "" if seen == (low, high) else " but for 0.1 % at either end"
            return (
                f"the {kind.name} images use values {_span(seen)} of {_span(kind[1:], '')}{few}; set "
                f"data.range={in_words(seen)}, or data.range=auto, or data.range={in_words(kind[1:])} "
                "to keep them as they are"
            )
        return None

    def outside(self, range: Range) -> str | None:
        """A sentence if a kind's values all lie on one side of the range; else None."""
        for kind in self.ends:
            low, high = self.extent(kind)
            if low < high and (high <= range[0] or low >= range[1]):
                shade = "black" if high <= range[0] else "white"
                return (
                    f"the {kind.name} images use values {_span((low, high))}, all {shade} in "
                    f"the range {in_words(range)}; set data.range={in_words((low, high))}, or "
                    f"data.range={in_words(kind[1:])} to keep them as they are"
                )
        return None

    def described(self, range: Range | None, auto: bool) -> str:
        """A sentence about the values of black and white; empty for plain 8-bit images."""
        kinds = " and ".join(kind.name for kind in self.ends)
        if range is None:
            wide = [kind for kind in self.ends if kind != BYTES]
            own = ", ".join(
                f"{kind.name} from {_number(kind.low)} to {_number(kind.high)}" for kind in self.ends
            )
            return f"values become black to white by the range of their type: {own}" if wide else ""
        how = " (data.range=auto: all but 0.1 % at either end)" if auto else ""
        mixed = f", in {kinds} images alike" if len(self.ends) > 1 else ""
        return f"values from {_number(range[0])} to {_number(range[1])} become black to white{how}{mixed}"


def _inner(values: np.ndarray) -> Range:
    """The bounds of the sample without 0.1 % at either end."""
    low = np.quantile(values, OUTLIERS, method="lower")
    high = np.quantile(values, 1 - OUTLIERS, method="higher")
    return low.item(), high.item()
