"""A few images of a source, tried before anything starts: whether they can be read, and their values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfsup.data.readers.decode import UnreadableImage
from selfsup.data.readers.reading import USUAL
from selfsup.data.readers.tally import Tally
from selfsup.data.readers.values import BYTES, Range, Stored
from selfsup.data.source import Source
from selfsup.errors import UsageError

PROBES = 200
SHRINK = 8  # the factor by which tried images may be shrunk: a huge one then takes little memory


@dataclass
class Tried:
    """What was found in evenly spaced images of a source.

    Attributes:
        source: that they are from.
        count: how many there were.
        bad: (name, reason) of those that cannot be read.
        without_range: those that can be read once a range is set.
        tally: their values.
        bands, pages: how many have unused bands, or more than one page, by kind.
        shrunk: positions of those that were shrunk, whose values are means.
    """

    source: Source
    count: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    without_range: list[tuple[str, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    bands: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    shrunk: list[int] = field(default_factory=list)

    def add(self, stored: Stored) -> None:
        """Count an image's values, band by band where each has a range of its own."""
        self.tally.add(stored, apart=self._apart)

    def add_pixels(self, pixels: Tensor) -> None:
        """Count the values of an image of 8 bits, uint8 (C, H, W)."""
        self.add(Stored((pixels.permute(1, 2, 0) if self._apart else pixels).numpy(), BYTES))

    @property
    def _apart(self) -> bool:
        return self.source.channels not in (1, 3)


def try_images(source: Source, shrink: float = SHRINK, most: int = PROBES) -> Tried:
    """Decode ``most`` evenly spaced images of a source without a range; an array's are looked at."""
    rows = torch.linspace(0, len(source) - 1, min(most, len(source))).round().long().tolist()
    tried = Tried(source, len(rows))
    for i in rows:
        if source.images is not None:
            tried.add_pixels(source.images[i])
        else:
            _try(tried, i, shrink)
    return tried


def _try(tried: Tried, i: int, shrink: float) -> None:
    assert tried.source.images is None
    try:
        picture = tried.source.picture(i)
    except UnreadableImage as error:
        tried.bad.append((error.name, error.reason))
        return
    try:
        if pages := picture.pages():
            tried.pages[pages] += 1
        pixels = picture.pixels(shrink)
    except UnreadableImage as error:
        (tried.bad if picture.stored is None else tried.without_range).append((error.name, error.reason))
    else:
        if picture.stored is None:
            tried.add_pixels(pixels)
            if pixels.shape[1:] != (picture.height, picture.width):
                tried.shrunk.append(i)
    if picture.stored is not None:
        tried.add(picture.stored)
    if picture.bands:
        tried.bands[picture.bands] += 1


def settle(setting: Range | str | None, tried: Sequence[Tried], as_before: bool = False) -> Range | None:
    """The range with which a data set is read.

    Args:
        setting: as `selfsup.data.readers.values.range_of` gives it; "auto" measures it on the first source.
        tried: without a range; of "auto" with no image shrunk.
        as_before: whether to read on as before, whatever the values are.

    Raises:
        UsageError: no range is set and the values use a small part of their type's, or one is set and they
            are outside it, or nothing can be measured.
    """
    whole = Tally()
    for each in tried:
        whole.take(each.tally)
    if setting == "auto":
        measured = tried[0].tally.range()
        if measured is None and tried[0].tally.ends:
            flat = tried[0].tally.equal_bands()
            where = f"all values of band {flat[0]}" if flat else "all values"
            raise UsageError(
                f"data.range=auto cannot be measured: {where} of the images tried are the same; set "
                "data.range=[low,high]"
            )
        return measured
    assert not isinstance(setting, str)
    problem = whole.problem() if setting is None else whole.outside(setting)
    for each in tried if problem and setting is None else []:
        for i in each.shrunk:  # only means have been seen, and single pixels reach further
            if problem:
                again = Tried(each.source)
                _try(again, i, 1)
                whole.take(again.tally)
                problem = whole.problem()
    if problem and not as_before:
        raise UsageError(problem)
    return setting


def describe(tried: Sequence[Tried], range: Range | None, auto: bool) -> None:
    """Write what was decided about values, bands and pages into the sources' decisions."""
    whole = Tally()
    for each in tried:
        whole.take(each.tally)
    count = sum(each.count for each in tried)
    bands = sum((each.bands for each in tried), Counter[str]())
    pages = sum((each.pages for each in tried), Counter[str]())
    used = "middle" if getattr(tried[0].source, "reading", USUAL).pages == "middle" else "first"
    for each in tried:
        decided = each.source.decisions
        decided.values = whole.described(range, auto)
        decided.bands = "; ".join(_have(number, count, what) for what, number in bands.items())
        if pages:
            what = next(iter(pages)) if len(pages) == 1 else "several pages or frames"
            decided.pages = _have(pages.total(), count, f"{what} (the {used} is used)")


def _have(number: int, count: int, what: str) -> str:
    return f"{number} of {count} images tried {'has' if number == 1 else 'have'} {what}"
