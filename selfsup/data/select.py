"""Selections of a source's splits: slices, sums, lists, balanced and long-tailed subsets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.data.compose import concat, shuffled
from selfsup.data.labels import positions
from selfsup.data.readers.paths import did_you_mean
from selfsup.data.slices import Slice, parse_splits
from selfsup.data.source import Source, subset
from selfsup.errors import UsageError
from selfsup.hints import near
from selfsup.text import as_text

Splits = Mapping[str, Source]


def choose(splits: Splits, config: Mapping[str, Any]) -> tuple[Source, Source]:
    """The (train, test) sources that a data configuration asks for.

    Args:
        splits: sources by name, among them "train" and "test".
        config: ``train`` and ``test`` (expressions of `selfsup.data.slices`), ``indices``, ``per_class``,
            ``imbalance`` and ``subset_seed``; each may be absent or None. The last four choose among the
            training images.

    Raises:
        UsageError: if there is no such split, a setting does not fit, or training and test images overlap.
    """
    parts = {setting: _parts(splits, config, setting) for setting in ("train", "test")}
    rows = {setting: [(p.split, _rows(splits, p, setting)) for p in parts[setting]] for setting in parts}
    _check_apart(rows["train"], rows["test"], splits)
    train, test = (concat([_part(splits, *part) for part in rows[setting]]) for setting in ("train", "test"))
    return subset_of(train, config), test


def subset_of(source: Source, config: Mapping[str, Any]) -> Source:
    """The images of a source that ``indices``, ``per_class`` or ``imbalance`` keep; all if none is set.

    Raises:
        UsageError: if two of them are set, or one does not fit.
    """
    rows = rows_of(source, config)
    return source if rows is None else subset(source, rows)


def rows_of(source: Source, config: Mapping[str, Any]) -> Tensor | None:
    """The positions of those images (:func:`subset_of`); None for all of them."""
    given = [key for key in ("indices", "per_class", "imbalance") if config.get(key) is not None]
    if len(given) > 1:
        raise UsageError(f"data.{given[0]} and data.{given[1]} both choose the images to learn from; set one")
    seed = config.get("subset_seed") or 0
    if not given:
        return None
    if given == ["indices"]:
        return listed(source, str(config["indices"]))
    if source.labels is None:
        raise UsageError(f"data.{given[0]} chooses images by class, but the data has no labels")
    if given == ["per_class"]:
        return balanced(source.labels, config["per_class"], source.classes, seed)
    return long_tailed(source.labels, config["imbalance"], seed)


def balanced(labels: Tensor, count: int, classes: list[str] | None = None, seed: int = 0) -> Tensor:
    """Positions of ``count`` random images of each class, ascending.

    Args:
        labels: int64 (N,).

    Raises:
        UsageError: if a class has fewer.

    >>> labels = torch.tensor([0, 1, 0, 1, 0])
    >>> labels[balanced(labels, 2)].bincount()
    tensor([2, 2])
    """
    sizes = labels.bincount()
    present = sizes.nonzero().flatten()
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError(f"data.per_class must be a whole number above 0, not {count}")
    least = present[sizes[present].argmin()]
    if sizes[least] < count:
        name = repr(classes[least]) if classes is not None else int(least)
        raise UsageError(
            f"data.per_class={count} is more than the {int(sizes[least])} images of class {name}; "
            f"take data.per_class={int(sizes[least])} or less"
        )
    return first_of_each(labels, sizes.clamp(max=count), seed)


def long_tailed(labels: Tensor, imbalance: float, seed: int = 0) -> Tensor:
    """Positions of random images whose class sizes fall exponentially, ascending.

    Class c of 0..C-1 keeps n μᶜ images with μ = imbalance^(-1/(C-1)): the first class ``imbalance`` times as
    many as the last (Cui, Jia, Lin, Song and Belongie 2019, arXiv:1901.05555, section 5.1). n is the largest
    for which every class has enough images, which is the class size where all are of one size.

    Args:
        labels: int64 (N,) in 0..C-1.
        imbalance: at least 1; 100 and 10 are common.

    Raises:
        UsageError: if it is less than 1, or leaves a class without images.

    >>> labels = torch.arange(3).repeat_interleave(100)
    >>> labels[long_tailed(labels, 100)].bincount()
    tensor([100,  10,   1])
    """
    if isinstance(imbalance, bool) or not isinstance(imbalance, int | float) or not 1 <= imbalance < np.inf:
        raise UsageError(f"data.imbalance must be a number of at least 1, such as 100, not {imbalance}")
    sizes = labels.bincount()
    profile = float(imbalance) ** (-torch.arange(len(sizes)).double() / max(len(sizes) - 1, 1))
    n = float((sizes / profile).min())
    # Slightly above, or rounding errors of the power would remove an image from an exact product.
    wanted = (n * profile * (1 + 1e-12)).long()
    if (wanted < 1).any():
        raise UsageError(
            f"data.imbalance={imbalance} leaves a class without images; take data.imbalance={int(n)} or less"
            if n >= 1
            else "data.imbalance needs images of every class"
        )
    return first_of_each(labels, wanted, seed)


def listed(source: Source, file: str) -> Tensor:
    """Positions that a file lists, in its order.

    Args:
        file: ``.npy`` of integers, or text with one position, or one image's name, a line. A name may be the
            end of a longer one after a slash: ``cat/7.jpg`` means ``my/images/cat/7.jpg``.

    Raises:
        UsageError: if there is no such file, or an entry means no image, several, or one listed before.
    """
    entries = _entries(Path(file).expanduser(), file)
    if not len(entries):
        raise UsageError(f"{file!r} (data.indices) lists no images")
    if isinstance(entries, np.ndarray):
        rows = torch.from_numpy(entries.astype(np.int64))
    elif all(entry.isdecimal() for entry in entries):
        rows = torch.tensor([int(entry) for entry in entries])
    else:
        rows = _named(source, entries, file)
    outside = rows[(rows < 0) | (rows >= len(source))]
    if len(outside):
        raise UsageError(f"{file!r} lists image {int(outside[0])}, but there are 0 to {len(source) - 1}")
    if len(rows.unique()) < len(rows):
        values, counts = rows.unique(return_counts=True)
        twice = source.name(int(values[counts > 1][0]))
        raise UsageError(f"{file!r} lists image {twice!r} more than once; list each image once")
    return rows


def _parts(splits: Splits, config: Mapping[str, Any], setting: str) -> list[Slice]:
    text = config.get(setting)
    if text is None:
        return [Slice(setting)]
    parts = parse_splits(text, f"data.{setting}")
    for part in parts:
        if part.split not in splits:
            raise UsageError(f"data.{setting}: no split '{part.split}'{near(part.split, splits)}")
    return parts


def _rows(splits: Splits, part: Slice, setting: str) -> Tensor | None:
    """Positions in the split, ascending; None for all of them."""
    if part.whole:
        return None
    n = len(splits[part.split])
    start, stop = part.bounds(n)
    if start == stop:
        raise UsageError(
            f"data.{setting}: {part.split}[{part.start}:{part.stop}] is empty, as {part.split} has {n} images"
        )
    return shuffled(n)[start:stop].sort().values


def _part(splits: Splits, split: str, rows: Tensor | None) -> Source:
    return splits[split] if rows is None else subset(splits[split], rows)


def _check_apart(
    train: list[tuple[str, Tensor | None]], test: list[tuple[str, Tensor | None]], splits: Splits
) -> None:
    for split, rows in train:
        for other, held in test:
            if splits[split] is not splits[other]:
                continue
            n = len(splits[split])
            taken = torch.zeros(n, dtype=torch.bool)
            taken[slice(None) if rows is None else rows] = True
            shared = int(taken[slice(None) if held is None else held].sum())
            if shared:
                raise UsageError(
                    f"data.train and data.test share {shared} images of the split '{split}'; they must be "
                    "apart, as two slices with [:90%] and [90%:] behind its name or path are"
                )


def leave_out(source: Source, count: int, seed: int) -> tuple[Source, Source]:
    """The training images that a run learns from, and ``count`` that it does not, written into the decisions.

    Which ones depends on the number of images and the seed alone.

    Raises:
        UsageError: fewer are left than are held out, or their order is one of shards.

    >>> from selfsup.data import ImageArray
    >>> learned, held = leave_out(ImageArray(torch.zeros(9, 3, 8, 8, dtype=torch.uint8)), count=3, seed=0)
    >>> len(learned), len(held), learned.decisions.held
    (6, 3, '3 of 9 training images are held out to measure their loss')
    """
    total = len(source)
    if count > total // 2:
        raise UsageError(
            f"online.held_out={count} leaves fewer of {total} training images than it holds out; take "
            f"{total // 2} or fewer"
        )
    if getattr(source, "sizes", None) is not None:
        raise UsageError(
            "images in shards are read in their order, and online.held_out would leave gaps in it; "
            "leave it out, or use data=folder or parquet"
        )
    order = shuffled(total, seed)
    learned, held = (subset(source, rows.sort().values) for rows in (order[count:], order[:count]))
    learned.balanced = source.balanced
    source.decisions.held = f"{count} of {total} training images are held out to measure their loss"
    return learned, held


def first_of_each(labels: Tensor, counts: Tensor, seed: int) -> Tensor:
    """The first ``counts[c]`` images of each class c in shuffled order, as ascending positions."""
    order = shuffled(len(labels), seed)
    order = order[labels[order].argsort(stable=True)]
    sizes = labels.bincount()
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[order]]
    return order[rank < counts[labels[order]]].sort().values


def _entries(path: Path, file: str) -> Any:
    try:
        if path.suffix.lower() == ".npy":
            rows = np.load(path, allow_pickle=False)
            if rows.ndim != 1 or rows.dtype.kind not in "iu":
                raise UsageError(f"{file!r} holds {rows.dtype} {rows.shape}, not one row of whole numbers")
            return rows
        return [line for line in path.read_text("utf-8", "surrogateescape").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise UsageError(f"data.indices: there is no '{file}'{did_you_mean(path)}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{file!r} (data.indices) cannot be read: {error}") from error


def _named(source: Source, entries: list[str], file: str) -> Tensor:
    names = [as_text(entry.strip()) for entry in entries]
    return positions([source], names, f"{file!r} (data.indices)")
