"""The values of some images of a data set: the range they suggest, and whether one that is set fits."""

from dataclasses import dataclass, field

import numpy as np

from selfsup.data.readers.values import (
    BYTES,
    WINDOWED,
    Kind,
    Pair,
    Range,
    Stored,
    in_words,
    pairs_of,
    span,
)

SAMPLED = 10_000  # values per image from which a range is measured
OUTLIERS = 0.001  # share of the values below, and of those above, a measured range
LEAST = {"8-bit": 1 / 8}  # share of its kind's range that a data set has to use
LEAST_WIDE = 1 / 3


@dataclass
class Tally:
    """The values of some images, by their kind.

    Attributes:
        ends: the lowest and the highest value of each image.
        samples: values spread evenly over each image.
        bands: a tally of each band, of images whose channels are bands; else empty.
    """

    ends: dict[Kind, list[tuple[float, float]]] = field(default_factory=dict)
    samples: dict[Kind, list[np.ndarray]] = field(default_factory=dict)
    bands: list["Tally"] = field(default_factory=list)

    def add(self, stored: Stored, apart: bool = False) -> None:
        """Count an image, unless it has no data at all; with ``apart`` each of its bands by itself, too."""
        if apart:
            bands = stored.bands()
            self.bands = self.bands or [Tally() for _ in bands]
            for tally, band in zip(self.bands, bands, strict=True):
                tally.add(band)
        known = stored.known()
        if not len(known):
            return
        # Not by whole steps, which would meet the same columns in every row.
        places = np.linspace(0, len(known) - 1, min(SAMPLED, len(known))).astype(np.int64)
        self.ends.setdefault(stored.kind, []).append((known.min().item(), known.max().item()))
        self.samples.setdefault(stored.kind, []).append(known[places])

    def take(self, other: "Tally") -> None:
        """Count another's images, too."""
        self.bands = self.bands or [Tally() for _ in other.bands]
        for mine, theirs in zip(self.bands, other.bands, strict=False):
            mine.take(theirs)
        for kind in other.ends:
            self.ends.setdefault(kind, []).extend(other.ends[kind])
            self.samples.setdefault(kind, []).extend(other.samples[kind])

    def extent(self, kind: Kind) -> Pair:
        """The lowest and the highest value of a kind."""
        return min(low for low, _ in self.ends[kind]), max(high for _, high in self.ends[kind])

    def range(self) -> Range | None:
        """The range of the values without 0.1 % at either end, of each band where they are told apart.

        If that would leave a single value, as for a few bright points on black, it is the full range. None if
        all values are equal, of any band.
        """
        if not self.bands:
            return self._pair()
        pairs = [pair for band in self.bands if (pair := band._pair()) is not None]
        return tuple(pairs) if len(pairs) == len(self.bands) else None

    def equal_bands(self) -> list[int]:
        """The bands, counted from 1, whose values are all equal."""
        return [place for place, band in enumerate(self.bands, 1) if band._pair() is None]

    def _pair(self) -> Pair | None:
        if not self.samples:
            return None
        samples = [each for of_kind in self.samples.values() for each in of_kind]
        found = _inner(np.concatenate([each.astype(np.float64) for each in samples]))
        if found[0] == found[1]:
            extents = [self.extent(kind) for kind in self.ends]
            found = min(low for low, _ in extents), max(high for _, high in extents)
        if found[0] == found[1]:
            return None
        whole = all(each.dtype.kind != "f" for each in samples)
        return (int(found[0]), int(found[1])) if whole else found

    def problem(self) -> str | None:
        """A sentence if a kind's values use a small part of its own range, or leave it; else None.

        For 8 bits an eighth is enough, and one pixel is enough to reach it: such images may be few points on
        black. For more bits it is a third, without 0.1 % of the values at either end: a camera's defective
        pixels reach its highest value in any image. Values that are all equal are checked elsewhere.
        """
        for kind in self.ends:
            if kind.name == WINDOWED:
                continue
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
                f"the {kind.name} images use values {span(seen)} of {span(kind[1:], '')}{few}; set "
                f"data.range={in_words(seen)}, or data.range=auto, or data.range={in_words(kind[1:])} "
                "to keep them as they are"
            )
        return None

    def outside(self, range: Range) -> str | None:
        """A sentence if a kind's values, of a band with a range of its own, all lie on one side of it."""
        if isinstance(range[0], tuple):
            found = (
                (place, band.outside(pair))
                for place, (band, pair) in enumerate(zip(self.bands, range, strict=False), 1)
            )
            return next((f"in band {place}, {said}" for place, said in found if said), None)
        pair = pairs_of(range, 1)[0]
        for kind in self.ends:
            low, high = self.extent(kind)
            if low < high and (high <= pair[0] or low >= pair[1]):
                shade = "black" if high <= pair[0] else "white"
                return (
                    f"the {kind.name} images use values {span((low, high))}, all {shade} in "
                    f"the range {in_words(range)}; set data.range={in_words((low, high))}, or "
                    f"data.range={in_words(kind[1:])} to keep them as they are"
                )
        return None

    def described(self, range: Range | None, auto: bool) -> str:
        """A sentence about the values of black and white; empty for plain 8-bit images."""
        kinds = " and ".join(dict.fromkeys(kind.name for kind in self.ends))
        if range is None:
            wide = [kind for kind in self.ends if kind != BYTES]
            own = [f"{kind.name} {span(kind[1:])}" for kind in self.ends if kind.name != WINDOWED]
            by = ["the window in each file"] * (len(own) < len(self.ends))
            by += [f"the range of their type: {', '.join(own)}"] * bool(own)
            return f"values become black to white by {'; by '.join(by)}" if wide else ""
        how = " (data.range=auto: all but 0.1 % at either end)" if auto else ""
        mixed = f", in {kinds} images alike" if " and " in kinds else ""
        if isinstance(range[0], tuple):
            each = ", ".join(span(pair, "") for pair in pairs_of(range, len(range)))
            return f"values become black to white by a range a channel: {each}{how}{mixed}"
        return f"values {span(pairs_of(range, 1)[0])} become black to white{how}{mixed}"


def _inner(values: np.ndarray) -> Pair:
    """The bounds of the sample without 0.1 % at either end."""
    low = np.quantile(values, OUTLIERS, method="lower")
    high = np.quantile(values, 1 - OUTLIERS, method="higher")
    return low.item(), high.item()
