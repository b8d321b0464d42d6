"""Sources made of sources: a part of one, several in a row, several mixed by weight."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.data.source import ImageArray, ImageFiles, Items, Names, Source, subset
from selfsup.errors import UsageError

LONGEST = 2**31  # images of a mixture's epoch


class Joined:
    """The items of several sequences, one after the other."""

    def __init__(self, parts: Sequence[Items]):
        self.parts = list(parts)
        self.ends = np.array(list(accumulate(len(part) for part in parts)))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, i: int, /) -> Any:
        part = int(np.searchsorted(self.ends, i, side="right"))
        return self.parts[part][i - (int(self.ends[part - 1]) if part else 0)]


def concat(sources: Sequence[Source]) -> Source:
    """The images of several sources, one source after the other.

    There are labels if every source has some. Classes of the same name are the same class; classes without
    names go by their number. The decisions are those of the first.
    """
    if len(sources) == 1:
        return sources[0]
    _require_no_ranges(sources)
    labels, classes = _joined_labels(sources)
    names = Joined([Names(source) for source in sources])
    arrays = [source.images for source in sources if source.images is not None]
    if len(arrays) == len(sources) and len({images.shape[1:] for images in arrays}) == 1:
        skipped = [pair for source in sources for pair in source.skipped]
        whole = ImageArray(torch.cat(arrays), labels, classes, names, skipped)
        whole.decisions = sources[0].decisions
        return whole
    return _lazy(sources)


def mix(sources: Sequence[Source], weights: Sequence[float], names: Sequence[str]) -> Source:
    """Several sources, each with its share of an epoch's images.

    An epoch is as long as it takes to see every image of every source: the source that is largest for its
    weight is seen once, others are repeated, a last incomplete time with a fixed random part. So no image is
    left out, and the list of images does not depend on the epoch; their order is the sampler's.

    Args:
        sources: K sources.
        weights: K numbers above 0; only their ratios count.
        names: of the sources, for the sentence about a mistake.

    Raises:
        UsageError: if a weight is not above 0, or the epoch would have more than 2^31 images.

    >>> few, many = (ImageArray(torch.zeros(n, 3, 8, 8, dtype=torch.uint8)) for n in (2, 9))
    >>> len(mix([few, many], [1, 3], ["few", "many"]))
    12
    """
    for name, weight in zip(names, weights, strict=True):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise UsageError(f"the weight of source '{name}' has to be a number above 0, not {weight}")
    counts = mixed_counts([len(source) for source in sources], weights)
    if sum(counts) > LONGEST:
        rarest = min(range(len(sources)), key=lambda k: weights[k] / len(sources[k]))
        raise UsageError(
            f"an epoch of this mixture would have {sum(counts)} images, because source '{names[rarest]}' has "
            f"{len(sources[rarest])} and a weight of only {weights[rarest]}; bring the weights closer"
        )
    starts = [0, *accumulate(len(source) for source in sources)]
    rows = [
        start + _repeated(len(source), count)
        for source, count, start in zip(sources, counts, starts[:-1], strict=True)
    ]
    whole = _lazy(sources)
    return subset(whole, torch.cat(rows))


def mixed_counts(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many images each source gives to an epoch: proportional to its weight, and at least all it has.

    >>> mixed_counts([2, 9], [1, 3])
    [3, 9]
    """
    unit = max(size / weight for size, weight in zip(sizes, weights, strict=True))
    return [max(size, round(unit * weight)) for size, weight in zip(sizes, weights, strict=True)]


def shuffled(n: int, seed: int = 0) -> Tensor:
    """The positions 0..n-1 in an order that depends only on (n, seed), on every machine and release.

    Positions are sorted by SplitMix64 (Steele, Lea and Flood 2014) of their number, so that another
    position added at the end moves none of the others past each other.
    """
    mixed = np.arange(1, n + 1, dtype=np.uint64) + np.uint64((seed << 32) % 2**64)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy(np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable"))


def _repeated(n: int, count: int) -> Tensor:
    """``count`` of the positions 0..n-1, whose numbers of occurrences differ by at most one."""
    return torch.cat([torch.arange(n).repeat(count // n), shuffled(n)[: count % n]])


def _lazy(sources: Sequence[Source]) -> Source:
    """`concat` that copies no images: a mixture repeats some, and may not fit in memory."""
    _require_no_ranges(sources)
    labels, classes = _joined_labels(sources)
    items = [source.images if source.images is not None else source.files for source in sources]
    joined = ImageFiles(Joined(items), labels, classes, Joined([Names(source) for source in sources]))
    joined.skipped = [pair for source in sources for pair in source.skipped]
    joined.decisions = sources[0].decisions
    return joined


def _require_no_ranges(sources: Sequence[Source]) -> None:
    if any(source.range is not None for source in sources):
        raise ValueError("join sources first, and give them one range of values then")


def _joined_labels(sources: Sequence[Source]) -> tuple[Tensor | None, list[str] | None]:
    if any(source.labels is None for source in sources):
        return None, None
    named = [source.classes for source in sources]
    if all(names is None for names in named):
        return torch.cat([source.labels for source in sources if source.labels is not None]), None
    parts: list[Tensor] = []
    number: dict[str, int] = {}
    for source in sources:
        assert source.labels is not None
        names = source.classes or [str(i) for i in range(int(source.labels.max()) + 1)]
        places = torch.tensor([number.setdefault(name, len(number)) for name in names])
        parts.append(places[source.labels])
    return torch.cat(parts), list(number)
