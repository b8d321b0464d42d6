"""A source's images with other channels, values or pages than those of its files."""

from copy import copy
from typing import Any

import torch
from torch import Tensor

from selfsup.data.readers.channels import luma
from selfsup.data.readers.reading import USUAL, Reading
from selfsup.data.readers.values import Range, byte_table, pairs_of
from selfsup.data.source import ImageArray, ImageFiles, Items, Names, Page, Source, UnreadableImage
from selfsup.data.stage_order import among
from selfsup.errors import UsageError


def ranged(source: Source, range: Range | None) -> Source:
    """The images with these stored values as black and white (`readers.decode.Picture`).

    Args:
        source: without a range of its own.

    >>> dark = ImageArray(torch.full((1, 3, 2, 2), 20, dtype=torch.uint8))
    >>> ranged(dark, (0, 40))[0].unique()
    tensor([128], dtype=torch.uint8)
    """
    if range is None:
        return source
    if source.range is not None:
        raise ValueError(f"the source has the range {source.range} already")
    made = copy(source)
    made.range = range
    if isinstance(made, ImageArray):
        tables = [
            torch.tensor(byte_table(pair), dtype=torch.uint8) for pair in pairs_of(range, made.channels)
        ]
        before, made.images = made.images, torch.empty_like(made.images)
        for start in torch.arange(0, len(made), 1024).tolist():
            for channel, table in enumerate(tables):
                block = before[start : start + 1024, channel]
                made.images[start : start + 1024, channel] = table[block.int()]
    return made


def read_as(source: Source, reading: Reading) -> Source:
    """The images with these channels.

    Args:
        source: without a reading or range of its own.

    Raises:
        UsageError: its images are decoded already, and have other channels.

    >>> colours = ImageArray(torch.full((1, 3, 2, 2), 20, dtype=torch.uint8))
    >>> read_as(colours, Reading(channels=1)).images.shape
    torch.Size([1, 1, 2, 2])
    """
    if reading == USUAL and source.channels == 3:
        return source
    made = copy(source)
    if isinstance(made, ImageFiles):
        made.reading = reading
        return made
    has = made.channels
    if reading.bands and max(reading.bands) <= has:
        made.images = made.images[:, [band - 1 for band in reading.bands]]
    elif not reading.bands and reading.channels == 1:
        made.images = torch.cat([torch.stack([*map(luma, block)]) for block in made.images.split(1024)])
    elif reading.bands or reading.channels != has:
        raise UsageError(f"these images have {has} channels; set data.channels={has}, and data.bands to some")
    return made


def paged(source: Source) -> Source:
    """Each page of each file as an image of its own; labels and splits are those of the files.

    The headers of all files are read, one after the other. A file that cannot be read, or that a function
    decodes, counts as one page.
    """
    if isinstance(source, ImageArray) or source.reading.pages != "all" or source.reading.decode is not None:
        return source
    counts = []
    for i in range(len(source)):
        try:
            counts.append(source.picture(i).count)
        except UnreadableImage:
            counts.append(1)
    of = torch.tensor(counts)
    rows = torch.arange(len(source)).repeat_interleave(of)
    numbers = torch.arange(len(rows)) - (of.cumsum(0) - of)[rows]
    labels = None if source.labels is None else source.labels[rows]
    names = PageNames(source, rows, numbers, (of > 1)[rows])
    made = ImageFiles(Pages(source.files, rows, numbers), labels, source.classes, names)
    made.skipped, made.reading, made.decisions = list(source.skipped), source.reading, source.decisions
    made.stages = among(source.stages, rows)
    return made


class Pages:
    """Pages of files, ``numbers`` (N,) counted from 0, of the files at ``rows`` (N,)."""

    def __init__(self, files: Items, rows: Tensor, numbers: Tensor):
        self.files, self.rows, self.numbers = files, rows, numbers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int, /) -> Any:
        found = self.files[int(self.rows[i])]
        return found if isinstance(found, Tensor) else Page(found, int(self.numbers[i]))


class PageNames(Pages):
    """The names of the pages, which are counted from 1 in files that have several."""

    def __init__(self, source: Source, rows: Tensor, numbers: Tensor, several: Tensor):
        super().__init__(Names(source), rows, numbers)
        self.several = several

    def __getitem__(self, i: int, /) -> str:
        name = str(self.files[int(self.rows[i])])
        return f"{name} page {int(self.numbers[i]) + 1}" if self.several[i] else name
