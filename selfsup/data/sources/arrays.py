"""Images that are arrays already: NumPy's or torch's, from Python or from .npy files."""

import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.data.channels import read_as
from selfsup.data.holdout import held_out_count, hold_out
from selfsup.data.readers.paths import did_you_mean
from selfsup.data.readers.reading import Reading
from selfsup.data.readers.values import Range, Stored, kind_of
from selfsup.data.source import ImageArray, ImageFiles, Source, subset
from selfsup.errors import UsageError


def from_arrays(
    images: Any,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    range: Range | None = None,
    channels: int = 3,
) -> ImageArray:
    """A source of images that are in memory.

    Args:
        images: N images as a NumPy array or torch tensor, (N, H, W) if grey, (N, H, W, 3), (N, 3, H, W), or
            either with 1 channel; uint8 in 0..255, uint16 in 0..65535, or floats in [0, 1], and with a range
            any numbers. Where both 3s could be channels, (N, 3, H, W) is meant. uint8 (N, 3, H, W) is not
            copied. With other ``channels`` C, (N, C, H, W) or (N, H, W, C).
        labels: N integers or strings; sorted, they are numbered 0..C-1. None: no labels.
        classes: names of the labels 0..C-1, which then have to be integers in that range.
        range: values that become black and white, linearly (`selfsup.data.readers.values.Stored.eight_bits`).
        channels: of each image of the source: 3 are colours, and 1 is grey.

    Raises:
        UsageError: if a shape, type or value is not one of these.

    >>> source = from_arrays(np.zeros((3, 28, 28)), labels=[7, 2, 7])
    >>> source.images.shape, source.labels, source.classes
    (torch.Size([3, 3, 28, 28]), tensor([1, 0, 1]), ['2', '7'])
    """
    pixels = _eight_bits(_shaped(_tensor(images, "images"), channels), range, channels)
    numbers, names = _numbered(labels, len(pixels), classes)
    source = ImageArray(pixels, numbers, names)
    source.range = range
    made = read_as(source, Reading(channels))
    assert isinstance(made, ImageArray)
    return made


def arrays(
    images: str,
    labels_file: str | None,
    channels: int = 3,
    bands: Sequence[int] | None = None,
    *,
    test_fraction: float,
) -> tuple[Source, Source]:
    """Images and labels in .npy files; ``test_fraction`` is held out, stratified by class.

    Args:
        images: a file with an array that `from_arrays` takes; for numbers other than uint8 the source's range
            has to be set if they use a small part of their type's.
        labels_file: a file with as many labels, or None.
        channels, bands: of the images that are made of these; with bands, the shorter of the two axes that
            may be channels holds them.

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if a file does not exist or holds no such array.
    """
    pixels = _shaped(_tensor(_loaded(images, "images"), "images"), channels, bands)
    labels = None if labels_file is None else _loaded(labels_file, "labels_file")
    source: Source
    if pixels.dtype == torch.uint8:
        shown = pixels.expand(-1, 3, -1, -1) if channels == 3 and pixels.shape[1] == 1 else pixels
        source = ImageArray(shown.contiguous(), *_numbered(labels, len(pixels), None))
    else:
        source = ImageFiles(pixels, *_numbered(labels, len(pixels), None))
    if len(source) < 2:
        raise UsageError(f"{images!r} (data.images) holds only {len(source)} image; at least two are needed")
    keys = [f"row {i}" for i in range(len(source))]
    train, test = hold_out(keys, source.labels, held_out_count(len(source), test_fraction))
    if not len(test):
        raise UsageError(f"each class in {labels_file!r} has a single image, so that none can be held out")
    return subset(source, train), subset(source, test)


def _loaded(file: str, setting: str) -> np.ndarray:
    path = Path(str(file)).expanduser()
    if not path.is_file():
        raise UsageError(f"data.{setting}: there is no file '{file}'{did_you_mean(path)}")
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"data.{setting}: {file!r} is not a .npy file of numbers or text: {reason}"
        ) from error
    if not isinstance(found, np.ndarray):
        raise UsageError(
            f"data.{setting}: {file!r} is an .npz archive of {', '.join(found.files)}; save one as .npy"
        )
    return found


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    found = np.asarray(values)
    if found.dtype.kind not in "uif":
        raise UsageError(f"{what} have to be integers or floats, not {found.dtype}")
    if not (found.flags.writeable and found.flags.c_contiguous and found.dtype.isnative):
        found = np.array(found, dtype=found.dtype.newbyteorder("="))
    return torch.from_numpy(found)


def _shaped(images: Tensor, channels: int = 3, bands: Sequence[int] | None = None) -> Tensor:
    """(N, 3, H, W) or (N, 1, H, W), or (N, C, H, W) of so many channels, or of all bands."""
    shape = tuple(images.shape)
    if bands or channels not in (1, 3):
        many = images.ndim == 4 and 0 not in shape
        if many and (shape[3] < shape[1] if bands else shape[1] != channels):
            images = images.permute(0, 3, 1, 2)
        if many and (images.shape[1] >= max(bands) if bands else images.shape[1] == channels):
            return images
        wanted = f"with band {max(bands)}" if bands else f"with {channels} channels"
        raise UsageError(
            f"images {wanted} have to be of shape (N, C, H, W) or (N, H, W, C) with N > 0, not {shape}"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in shape:
        raise UsageError(
            f"images have to be of shape (N, H, W), (N, H, W, 3) or (N, 3, H, W) with N > 0, not {shape}; of "
            "other channels set their number"
        )
    return images


def _eight_bits(images: Tensor, range: Range | None, channels: int) -> Tensor:
    """uint8 (N, C, H, W), of colours also where they are grey."""
    if range is None and images.is_floating_point():
        least, most = images.min().item(), images.max().item()
        if not (least >= 0 and most <= 1):
            raise UsageError(
                f"images of floats have to be in [0, 1], and these go from {least:.3g} to {most:.3g}; scale "
                "them, pass uint8, or a range"
            )
    elif range is None and images.dtype not in (torch.uint8, torch.uint16):
        kind = str(images.dtype)[6:]
        raise UsageError(f"images have to be uint8, uint16 or floats in [0, 1], not {kind}, or need a range")
    if images.dtype == torch.bfloat16:
        images = images.float()
    if range is not None or images.dtype != torch.uint8:
        numbers = images.movedim(1, -1).numpy()
        eight = Stored(numbers, kind_of(numbers.dtype)).eight_bits(range)
        images = torch.from_numpy(np.moveaxis(eight, -1, 1))
    return (images.expand(-1, 3, -1, -1) if channels == 3 else images).contiguous()


def _numbered(
    labels: Any, count: int, classes: Sequence[str] | None
) -> tuple[Tensor | None, list[str] | None]:
    if labels is None:
        if classes is not None:
            raise UsageError("classes name labels, but there are no labels; pass labels, too")
        return None, None
    found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if found.ndim != 1 or len(found) != count:
        raise UsageError(f"{count} images need labels of shape ({count},), not {tuple(found.shape)}")
    if found.dtype.kind not in "uibUS":
        raise UsageError(f"labels have to be integers or text, one an image, not {found.dtype}")
    if found.dtype.kind in "ib" and found.min() < 0:
        raise UsageError(f"image {int(found.argmin())} has the label {found.min()}, which is below 0")
    if classes is None:
        values, numbers = np.unique(found, return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), [str(value) for value in values]
    if found.dtype.kind in "US":
        raise UsageError("classes name labels that are integers, and these are text; leave classes out")
    if found.max() >= len(classes):
        raise UsageError(
            f"{len(classes)} classes name the labels 0 to {len(classes) - 1}, but there is {found.max()!s}"
        )
    return torch.from_numpy(found.astype(np.int64)), [str(name) for name in classes]
