"""Where images come from: a source gives decoded images, their names, and labels if there are any."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from selfsup.data.decode import Picture, UnreadableImage

__all__ = ["ImageArray", "ImageFiles", "Source", "UnreadableImage", "in_memory", "subset"]

SMALL = 256  # pixels a side up to which images of one size are kept decoded
MEMORY = 10**9  # bytes that the decoded images of one source may take


class Items(Protocol):
    """What can be counted and looked up by position; less than a `Sequence` asks for."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Any: ...


class ImageArray:
    """Images of one size, decoded and in memory.

    Args:
        images: uint8 (N, 3, H, W).
        labels: int64 (N,) in 0..C-1, or None.
        classes: the C names of the classes, or None.
        names: what a person calls each image.
        skipped: (name, reason) of the images left out because they could not be read.

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
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (N, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        _check_lengths(len(images), labels, names)
        self.images = images
        self.labels = labels
        self.classes = classes
        self.names = names
        self.skipped = list(skipped)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]

    def name(self, i: int) -> str:
        return str(self.names[i]) if self.names is not None else f"image {i}"


class ImageFiles:
    """Encoded images, decoded one at a time when asked for; can be pickled for the workers of a DataLoader.

    Args:
        files: N paths or encoded images; any sequence, so that bytes can be read when asked for.
        labels: int64 (N,) in 0..C-1, or None.
        classes: the C names of the classes, or None.
        names: what a person calls each image; the paths if None.
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

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        """uint8 (3, H, W).

        Raises:
            UnreadableImage: if it cannot be decoded.
        """
        return self.picture(i).pixels().contiguous()

    def picture(self, i: int) -> Picture:
        """The image with no more than its header read.

        Raises:
            UnreadableImage: if it has none.
        """
        name = self.name(i)
        try:
            file = self.files[i]
        except OSError as error:
            raise UnreadableImage(name, str(error)) from error
        return Picture(file, name)

    def name(self, i: int) -> str:
        if self.names is not None:
            return str(self.names[i])
        file = self.files[i]
        return f"image {i}" if isinstance(file, bytes) else os.fspath(Path(file))


Source = ImageArray | ImageFiles


class Picked:
    """The items at given positions, looked up when asked for."""

    def __init__(self, items: Items, indices: Tensor):
        self.items = items
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int, /) -> Any:
        return self.items[int(self.indices[i])]


def subset(source: ImageFiles, indices: Tensor) -> ImageFiles:
    """The images at `indices` (int64) as a source of their own."""
    labels = None if source.labels is None else source.labels[indices]
    names = None if source.names is None else Picked(source.names, indices)
    return ImageFiles(Picked(source.files, indices), labels, source.classes, names)


def in_memory(source: ImageFiles) -> Source:
    """`source` decoded into an `ImageArray` if its images have one small size and fit, else as it is.

    Images that cannot be read are left out of the array and named in its `skipped`.
    """
    images: Tensor | None = None
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    # One thread: at these sizes PIL's work under the interpreter lock dominates, and threads made it slower.
    for i in range(len(source)):
        try:
            image = source[i]
        except UnreadableImage as error:
            skipped.append((error.name, error.reason))
            continue
        if images is None:
            if max(image.shape) > SMALL or image.numel() * len(source) > MEMORY:
                return source
            images = torch.empty((len(source), *image.shape), dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            return source
        images[len(kept)] = image
        kept.append(i)
    if images is None:
        return source
    rows = torch.tensor(kept)
    labels = None if source.labels is None else source.labels[rows]
    names = [source.name(i) for i in kept]
    return ImageArray(images[: len(kept)], labels, source.classes, names, skipped)


def _check_lengths(n: int, labels: Tensor | None, names: Items | None) -> None:
    if labels is not None and (labels.dtype != torch.int64 or labels.shape != (n,)):
        raise ValueError(f"labels must be int64 ({n},), not {labels.dtype} {tuple(labels.shape)}")
    if names is not None and len(names) != n:
        raise ValueError(f"{n} images need {n} names, not {len(names)}")
