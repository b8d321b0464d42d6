"""Where images come from: a source gives decoded images, their names, and labels if there are any."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from selfsup.data.decisions import Decisions
from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.readers.reading import USUAL
from selfsup.data.readers.values import Range
from selfsup.data.stage_order import Stage, among
from selfsup.sides import MOST_CHANNELS

__all__ = ["ImageArray", "ImageFiles", "Items", "Page", "Source", "UnreadableImage", "in_memory", "subset"]

SMALL = 256  # largest side, in pixels, of images of one size that are kept decoded
MEMORY = 10**9  # bytes that the decoded images of one source may take
PROBES = 16  # images that have to be small and of one size before all are decoded


class Items(Protocol):
    """Items with a length, looked up by position; less than a `Sequence` requires."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Any: ...


class Page(NamedTuple):
    """A page of a file with several, counted from 0."""

    file: str | bytes
    number: int


class ImageArray:
    """Images of one size, decoded and in memory.

    Args:
        images: uint8 (N, C, H, W) of 1 to 16 channels.
        labels: int64 (N,) of classes counted from 0, or None.
        classes: the names of the classes, or None.
        names: display names.
        skipped: (name, reason) of the images left out because they could not be read.

    Attributes:
        channels: of each image.
        range: the stored values that have become black and white, None for those of their type.
        stages: the data sets to learn from one after another, if there are several.
        balanced: whether each class comes equally often in training.
        statistics: mean and standard deviation of each channel, of values in [0, 1], once they are known.
        relation: which images belong together (`relations.Relation`), in a run that asks for it.

    >>> source = ImageArray(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    >>> len(source), source[1].shape, source.name(1)
    (2, torch.Size([3, 8, 8]), 'image 1')
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        classes: list[str] | None = None,
        names: Items | None = None,
        skipped: Sequence[tuple[str, str]] = (),
    ):
        if images.dtype != torch.uint8 or images.ndim != 4 or not 1 <= images.shape[1] <= MOST_CHANNELS:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")
        _check_lengths(len(images), labels, names)
        self.images = images
        self.labels = labels
        self.classes = classes
        self.names = names
        self.skipped = list(skipped)
        self.decisions = Decisions()
        self.range: Range | None = None
        self.stages: list[Stage] = []
        self.balanced = False
        self.statistics: Statistics | None = None
        self.relation: Any = None

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]

    def name(self, i: int) -> str:
        return str(self.names[i]) if self.names is not None else f"image {i}"


class ImageFiles:
    """Encoded images, decoded one at a time on demand; can be pickled for the workers of a DataLoader.

    Args:
        files: N paths, encoded images, or images as numbers (C, H, W), or any of these with a page (`Page`);
            any sequence, so that they can be read or made on demand.
        labels: int64 (N,) of classes counted from 0, or None.
        classes: the names of the classes, or None.
        names: display names; the paths if None.

    Attributes:
        reading: which channels become those of an image (`readers.reading.Reading`).
        range: the stored values that become black and white (`readers.decode.Picture`), None for those
            of their type.
        stages: the data sets to learn from one after another, if there are several.
        balanced, statistics, relation: as of an `ImageArray`.
    """

    images: None = None

    def __init__(
        self,
        files: Items,
        labels: Tensor | None = None,
        classes: list[str] | None = None,
        names: Items | None = None,
    ):
        _check_lengths(len(files), labels, names)
        self.files = files
        self.labels = labels
        self.classes = classes
        self.names = names
        self.skipped: list[tuple[str, str]] = []
        self.decisions = Decisions()
        self.reading = USUAL
        self.range: Range | None = None
        self.stages: list[Stage] = []
        self.balanced = False
        self.statistics: Statistics | None = None
        self.relation: Any = None

    @property
    def channels(self) -> int:
        return self.reading.channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        """uint8 (C, H, W).

        Raises:
            UnreadableImage: if it cannot be decoded.
        """
        return self.picture(i).pixels().contiguous()

    def picture(self, i: int) -> Picture:
        """The image with no more than its header read.

        Raises:
            UnreadableImage: if it has none.
        """
        try:
            file = self.files[i]
        except OSError as error:
            name = f"image {i}" if self.names is None else str(self.names[i])
            raise UnreadableImage(name, str(error)) from error
        name = self._called(i, file)
        file, page = file if isinstance(file, Page) else (file, None)
        return Picture(file, name, self.range, self.reading, page)

    def name(self, i: int) -> str:
        return self._called(i, self.files[i] if self.names is None else None)

    def _called(self, i: int, file: Any) -> str:
        if self.names is not None:
            return str(self.names[i])
        return f"image {i}" if isinstance(file, bytes | Tensor) else os.fspath(Path(file))


Source = ImageArray | ImageFiles
Statistics = tuple[list[float], list[float]]


class Picked:
    """The items at given positions, looked up on demand."""

    items: Items
    rows: Tensor

    def __init__(self, items: Items, rows: Tensor):
        if isinstance(items, Picked):
            self.items, self.rows = items.items, items.rows[rows]
        else:
            self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int, /) -> Any:
        return self.items[int(self.rows[i])]


class Names:
    """The display names of a source's images."""

    def __init__(self, source: Source):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int, /) -> str:
        return self.source.name(i)


def subset(source: Source, rows: Tensor) -> Source:
    """The images at ``rows`` (int64, any order, repeats allowed) as a source of their own.

    >>> digits = ImageArray(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.tensor([5, 6, 7]))
    >>> subset(digits, torch.tensor([2, 0])).labels
    tensor([7, 5])
    """
    labels = None if source.labels is None else source.labels[rows]
    names = Picked(source.names if source.names is not None else Names(source), rows)
    part: Source
    if source.images is not None:
        part = ImageArray(source.images[rows], labels, source.classes, names, source.skipped)
    else:
        part = ImageFiles(Picked(source.files, rows), labels, source.classes, names)
        part.skipped, part.reading = list(source.skipped), source.reading
    part.decisions, part.range, part.statistics = source.decisions, source.range, source.statistics
    return part


def in_memory(source: Source) -> Source:
    """`source` decoded into an `ImageArray` if its images have one small size and fit, else as it is.

    A few images spread over the source are tried first. Unreadable images are left out of the array and
    listed in its `skipped`.
    """
    shape = None if isinstance(source, ImageArray) else _small_shape(source)
    if shape is None:
        return source
    images = torch.empty((len(source), *shape), dtype=torch.uint8)
    kept: list[int] = []
    skipped = list(source.skipped)
    # One thread: at these sizes PIL's work under the interpreter lock dominates, and threads were slower.
    for i in range(len(source)):
        try:
            image = source[i]
        except UnreadableImage as error:
            skipped.append((error.name, error.reason))
            continue
        if image.shape != shape:
            return source
        images[len(kept)] = image
        kept.append(i)
    rows = torch.tensor(kept)
    labels = None if source.labels is None else source.labels[rows]
    names = [source.name(i) for i in kept]
    array = ImageArray(images[: len(kept)], labels, source.classes, names, skipped)
    array.decisions, array.range, array.statistics = source.decisions, source.range, source.statistics
    array.stages = among(source.stages, rows)
    return array


def _small_shape(source: ImageFiles) -> torch.Size | None:
    """The common shape of a few images, if all images fit in memory."""
    shapes = set()
    for i in torch.linspace(0, len(source) - 1, min(PROBES, len(source))).round().long().tolist():
        try:
            picture = source.picture(i)
            if max(picture.height, picture.width) > SMALL:
                return None
            shapes.add(picture.pixels().shape)
        except UnreadableImage:
            continue  # counted when all images are read
    if len(shapes) != 1:
        return None
    shape = shapes.pop()
    return shape if max(shape) <= SMALL and shape.numel() * len(source) <= MEMORY else None


def _check_lengths(n: int, labels: Tensor | None, names: Items | None) -> None:
    if labels is not None and (labels.dtype != torch.int64 or labels.shape != (n,)):
        raise ValueError(f"labels must be int64 ({n},), not {labels.dtype} {tuple(labels.shape)}")
    if names is not None and len(names) != n:
        raise ValueError(f"{n} images need {n} names, not {len(names)}")
