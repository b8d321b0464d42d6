"""Folders that show the same things in another way, such as images and masks: distinguished from classes."""

import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.readers.roles import words

MOST = 6  # folders of one set that show the same things; classes are often more
SHARED = 0.8  # share of names that two such folders have in common, at least
TRIED = 8  # pairs of images that are compared
SHRINK = 8
# Usual names of such folders: a hint if the files are only numbered, as those of classes may be, too.
_WORDS = {
    *("image", "images", "img", "imgs", "rgb", "photo", "photos", "picture", "pictures", "color", "colour"),
    *("mask", "masks", "label", "labels", "seg", "segmentation", "segmentations", "annotation"),
    *("gt", "groundtruth", "truth", "target", "targets", "source", "input", "inputs", "output", "outputs"),
    *("left", "right", "depth", "disparity", "disp", "normal", "normals", "edge", "edges", "thermal", "ir"),
    *("infrared", "nir", "visible", "hr", "lr", "noisy", "clean", "blur", "sharp", "hazy", "trimap"),
    *(
        "annotations",
        "trimaps",
        "alpha",
        "matte",
        "flow",
        "stereo",
        "pan",
        "sar",
        "optical",
        "heatmap",
        "semantic",
        "instance",
    ),
}


def keys_of(names: Sequence[str]) -> list[str]:
    """Relative paths without what all of them have in common: ending, and text before and after a number.

    >>> keys_of(["a/im07_mask.png", "a/im12_mask.png"])
    ['a/07', 'a/12']
    """
    folders, stems = zip(*(_parted(name) for name in names), strict=True) if names else ((), ())
    before = _common(stems)
    after = _common([stem[before:][::-1] for stem in stems])
    return [
        os.path.join(folder, stem[before : len(stem) - after])
        for folder, stem in zip(folders, stems, strict=True)
    ]


def _common(stems: Sequence[str]) -> int:
    """Length of the beginning that all have, cut within no word and no number."""
    first, last = min(stems, default=""), max(stems, default="")
    length = next(
        (i for i, two in enumerate(zip(first, last, strict=False)) if len(set(two)) > 1), len(first)
    )
    length = length if len(stems) > 1 else 0
    while length and not all(_parts(stem[length - 1 : length + 1]) for stem in stems):
        length -= 1
    return length


def _parts(two: str) -> bool:
    """Whether between two characters one word or number ends."""
    return len(two) < 2 or not (two.isdecimal() or two.isalpha())


def _parted(name: str) -> tuple[str, str]:
    folder, base = os.path.split(name)
    return folder, os.path.splitext(base)[0]


def pairs_of(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of the names for the same thing, by their keys; one key may be a prefix of another."""
    mine, theirs = keys_of(one), keys_of(other)
    order = sorted(range(len(theirs)), key=theirs.__getitem__)
    ranked = [theirs[i] for i in order]
    found = []
    for i, key in enumerate(mine):
        at = bisect_left(ranked, key)
        if at < len(ranked) and re.fullmatch(re.escape(key) + r"([\W_].*)?", ranked[at], re.DOTALL):
            found.append((i, order[at]))
    return found


def counted(names: Sequence[str]) -> bool:
    """Whether names are consecutive numbers, which any two folders may have."""
    keys = [os.path.basename(key) for key in keys_of(names)]
    numbers = [re.findall(r"[0-9]+", key) for key in keys]
    patterns = {re.sub(r"[0-9]+", "", key) for key in keys}
    if len(patterns) > 1 or not all(numbers):
        return False
    last = {int(found[-1][:18]) for found in numbers}
    return max(last) - min(last) < 2 * len(last)


def are_parallel(tops: Sequence[str], names: Sequence[Sequence[str]]) -> bool:
    """Whether folders show the same things in different ways, so that they are not classes.

    Shared names that are not just consecutive numbers are proof. Consecutive numbers are not: then the
    folders' names have to say it, or some of the images have to be masks.

    Args:
        tops: the folders.
        names: of each, images relative to it in the order of their paths, the first thousand or so.
    """
    if not 2 <= len(tops) <= MOST:
        return False
    first = min(range(len(tops)), key=lambda k: len(names[k]))
    others = [k for k in range(len(tops)) if k != first]
    matched = {k: dict(pairs_of(names[first], names[k])) for k in others}
    shared = sorted(set.intersection(*(set(pairs) for pairs in matched.values())))
    if len(shared) < max(2, SHARED * len(names[first])):
        return False
    plain = counted(names[first])
    if not plain and len(names[first]) < 3:
        return False
    hinted = all(_WORDS & set(words(Path(top).name)) or Path(top).name in ("A", "B") for top in tops)
    looks = [_Looks(tops[first], names[first], shared)]
    for k in others:
        here = _Looks(tops[k], names[k], [matched[k][i] for i in shared])
        if looks[0].same_as(here):
            return False  # copies
        looks.append(here)
    if not plain or hinted:
        return True
    masks = [each.masks for each in looks]
    return any(masks) and not all(masks)


def image_folder(tops: Sequence[str], names: Sequence[Sequence[str]]) -> int | None:
    """The folder with the images among parallel ones, if their content shows it: the only one without masks,
    or the only one in colour; else None."""
    looks = [_Looks(top, found, range(len(found))) for top, found in zip(tops, names, strict=True)]
    for fits in ([not each.masks for each in looks], [each.colour and not each.masks for each in looks]):
        if sum(fits) == 1:
            return fits.index(True)
    return None


class _Looks:
    """A few images of a folder, as far as they can be read.

    Attributes:
        images: uint8 (3, H, W) each, None for one that is unreadable.
        masks: whether each shows a few values only.
        colour: whether any is in colour.
    """

    def __init__(self, top: str, names: Sequence[str], rows: Sequence[int]):
        spread = np.unique(np.linspace(0, len(rows) - 1, min(TRIED, len(rows))).round().astype(int))
        paths = [os.path.join(top, names[rows[i]]) for i in spread]
        self.images = [_pixels(path) for path in paths]
        known = [image for image in self.images if image is not None]
        self.masks = bool(known) and all(few_values(image) for image in known)
        self.colour = any(bool((image != image[:1]).any()) for image in known)

    def same_as(self, other: "_Looks") -> bool:
        """Whether any two at the same place are the same picture."""
        pairs = zip(self.images, other.images, strict=False)
        return any(
            one is not None and two is not None and one.shape == two.shape and bool((one == two).all())
            for one, two in pairs
        )


def few_values(image: Tensor) -> bool:
    """Whether an image, uint8 (3, H, W), looks like a mask: a few values, or nearly so after JPEG."""
    _, height, width = image.shape
    flat = image.reshape(3, -1).long()
    exact = (flat[0] << 16 | flat[1] << 8 | flat[2]).unique()
    if len(exact) <= min(64, height * width / 16):
        return True
    coarse = (flat[0] >> 5) << 6 | (flat[1] >> 5) << 3 | flat[2] >> 5
    most = coarse.bincount().sort(descending=True).values[:2].sum()
    return height * width >= 256 and int(most) > 0.95 * height * width


def _pixels(path: str) -> Tensor | None:
    try:
        return Picture(path, path).pixels(1 if os.path.getsize(path) < 2**20 else SHRINK)
    except (UnreadableImage, OSError):
        return None
