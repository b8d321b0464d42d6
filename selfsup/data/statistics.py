"""Mean and standard deviation of each channel, measured once over training images."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.data.readers.values import Stored, as_setting
from selfsup.data.source import Source, Statistics, UnreadableImage
from selfsup.encoder.statistics import usual_statistics
from selfsup.errors import UsageError

IMAGES, PIXELS = 200, 10_000  # that are measured, at most; pixels of each image
_LEAST = 1e-3  # a deviation of a channel that is the same everywhere, by which nothing can be divided


def settled(data: Mapping[str, Any], source: Source) -> Statistics:
    """Mean and deviation of each channel as a data configuration asks for them.

    Numbers are taken as they are. null is ImageNet's for three channels, else measured. "auto" of either
    measures both, and so do numbers that are not one a channel: the configuration's own, for colours.

    Raises:
        UsageError: they have to be measured and no image can be read.
    """
    given: list[Any] = [data.get("mean"), data.get("std")]
    if source.channels == 3:
        given = [own if each is None else each for each, own in zip(given, usual_statistics(3), strict=True)]
    if all(isinstance(each, list | tuple) and len(each) == source.channels for each in given):
        return list(given[0]), list(given[1])
    mean, std, count = measured(source)
    said = " and ".join(" ".join(f"{value:.3g}" for value in values) for values in (mean, std))
    before = [source.decisions.values] * bool(source.decisions.values)
    now = f"mean and deviation of each channel, measured on {count} images: {said}"
    source.decisions.values = "; ".join([*before, now])
    return mean, std


def keep_measured(data: dict[str, Any], source: Source) -> None:
    """Write what was measured on a training source into its configuration: range, mean and deviation."""
    data["range"] = as_setting(source.range)
    if source.statistics is not None:
        data["mean"], data["std"] = source.statistics


def measured(
    source: Source, images: int = IMAGES, pixels: int = PIXELS
) -> tuple[list[float], list[float], int]:
    """Mean and standard deviation of each channel, of values in [0, 1], and how many images they are of.

    Evenly spread images count alike, each by as many evenly spread pixels, fewer where it is smaller; pixels
    without data are left out. Sums are exact, so that the result depends on nothing else.

    Args:
        source: with its range.

    Raises:
        UsageError: none of the images can be read, or they have no data.

    >>> from selfsup.data import ImageArray
    >>> measured(ImageArray(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)))
    ([0.5], [0.5], 1)
    """
    rows = torch.linspace(0, len(source) - 1, min(images, len(source))).round().long().tolist()
    firsts: list[list[float]] = [[] for _ in range(source.channels)]
    squares: list[list[float]] = [[] for _ in range(source.channels)]
    read = 0
    for i in rows:
        try:
            image, unknown = _look(source, i)
        except UnreadableImage:
            continue  # counted when the images are tried
        read += 1
        for channel, plane in enumerate(image):
            hidden = None if unknown is None else unknown[..., min(channel, unknown.shape[-1] - 1)]
            flat = plane.reshape(-1) if hidden is None else plane[~torch.from_numpy(hidden)]
            if len(flat):
                places = np.linspace(0, len(flat) - 1, min(pixels, len(flat))).astype(np.int64)
                sample = flat[torch.from_numpy(places)].long()
                firsts[channel].append(int(sample.sum()) / len(sample) / 255)
                squares[channel].append(int(sample.square().sum()) / len(sample) / 255**2)
    if not all(firsts):
        raise UsageError("data.mean=auto has no image with data to measure; give numbers, one a channel")
    mean = [math.fsum(each) / len(each) for each in firsts]
    square = [math.fsum(each) / len(each) for each in squares]
    std = [math.sqrt(max(0.0, s - m * m)) for s, m in zip(square, mean, strict=True)]
    return [round(m, 6) for m in mean], [max(_LEAST, round(s, 6)) for s in std], read


def _look(source: Source, i: int) -> tuple[Tensor, np.ndarray | None]:
    """An image, uint8 (C, H, W), and where it has no data, bool (H, W, C) or (H, W, 1)."""
    if source.images is not None:
        return source.images[i], None
    picture = source.picture(i)
    pixels = picture.pixels()
    stored: Stored | None = picture.stored
    unknown = None if stored is None else stored.without_data()
    if unknown is not None and unknown.ndim == 3 and not source.reading.whole:
        unknown = np.any(unknown, axis=2, keepdims=True)  # of colours
    return pixels, None if unknown is None else unknown.reshape(*unknown.shape[:2], -1)
