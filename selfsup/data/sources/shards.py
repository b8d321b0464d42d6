"""Images in tar shards, the layout of WebDataset, for data too large for a folder."""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup.data.decisions import Decisions
from selfsup.data.holdout import held_out_count, hold_out
from selfsup.data.readers.paths import are_the_same, did_you_mean, require_one_split
from selfsup.data.readers.tar_images import TarImages
from selfsup.data.readers.tar_index import ShardIndex, index_shards
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.errors import UsageError

UNLABELLED = "pass data.labels=false to learn without labels"


class ShardImages(ImageFiles):
    """Images in shards.

    Attributes:
        sizes: int64 (S,), images of each shard, in the order in which images are numbered.
    """

    def __init__(self, images: TarImages, labels: Tensor | None, classes: list[str] | None):
        super().__init__(images, labels, classes, _Names(images))
        self.sizes = torch.from_numpy(images.counts)


class _Names:
    def __init__(self, images: TarImages):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int, /) -> str:
        return self.images.name(i)


def shards(
    train: str,
    test: str | None = None,
    *,
    labels: str | bool = "auto",
    test_fraction: float,
    label_key: str = "label",
    max_unreadable: float,
) -> tuple[Source, Source]:
    """Images in tar files; a sample is a few members with the same stem: ``17.jpg``, ``17.cls``.

    Nothing is unpacked: an index of where each image begins is made once and kept, after which any image is
    read by itself, in any order, by any process. No name in a shard is ever used as a path.

    Args:
        train: a tar file, a folder of them, or a pattern such as ``shards/{0000..0099}.tar`` or
            ``shards/*.tar``.
        test: the same for the test split; None holds out ``test_fraction`` of the shards, or of the images if
            that is less than one shard. The same shards as ``train`` are meant to be sliced: both sources are
            then identical.
        labels: ``.cls`` (an integer or text) or ``label_key`` of ``.json``. "auto" takes them if there are
            any, True insists on them, False ignores them.
        max_unreadable: share of the shards that may be damaged (one of several always may).

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if there are no shards, too many are damaged, or labels are incomplete.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    learn = _Split(train, "train", label_key, max_unreadable)
    held = None if test is None else _Split(test, "test", label_key, max_unreadable)
    one = held is not None and are_the_same(learn.paths, held.paths)
    splits = [learn] if held is None or one else [learn, held]
    if labels is True or (labels == "auto" and any(split.index.classes for split in splits)):
        for split in splits:
            split.number(learn.index.classes)
    if one:
        whole = learn.source()
        return whole, whole
    if held is not None:
        return learn.source(), held.source()
    count = round(test_fraction * len(learn.paths))
    if 0 < count < len(learn.paths):
        kept, out = hold_out([Path(path).name for path in learn.paths], None, count)
        learn.decisions.splits = f"{count} of {len(learn.paths)} shards are held out for testing"
        return learn.source(kept.tolist()), learn.source(out.tolist())
    whole = learn.source()
    if len(whole) < 2:
        raise UsageError(f"{train!r} (data.train) holds only one image; at least two are needed")
    keys = [f"row {i}" for i in range(len(whole))]
    kept, out = hold_out(keys, whole.labels, held_out_count(len(whole), test_fraction))
    if not len(out):
        raise UsageError(f"each class in {train!r} has a single image; pass data.test=SHARDS")
    learn.decisions.splits = f"{len(out)} of {len(whole)} images are held out for testing"
    train_part = subset(whole, kept)
    train_part.skipped = whole.skipped
    return train_part, subset(whole, out)


class _Split:
    """The shards of one split, and their index."""

    def __init__(self, where: str, name: str, label_key: str, max_unreadable: float):
        self.where, self.name = where, name
        self.paths = find_shards(where, name)
        self.index: ShardIndex = index_shards(self.paths, label_key)
        self.labels: np.ndarray | None = None
        self.decisions = Decisions(labels="no labels", left_out=dict(self.index.left_out))
        bad = self.index.problems
        if not self.index.counts.sum():
            raise UsageError(f"{where!r} (data.{name}) holds no images; {bad[0][0]!r}: {bad[0][1]}")
        if len(bad) > max(1, max_unreadable * len(self.paths)):
            raise UsageError(
                f"{len(bad)} of {len(self.paths)} shards of {where!r} (data.{name}) are damaged, the first "
                f"{bad[0][0]!r}: {bad[0][1]}; repair or remove them, or raise data.max_unreadable"
            )

    def number(self, classes: list[str]) -> None:
        """Take the labels, numbered by the training split's classes."""
        found = self.index
        if not found.classes or (found.labels < 0).any():
            images = self.source().files
            assert isinstance(images, TarImages)
            missing = images.name(int((found.labels < 0).argmax()) if found.classes else 0)
            raise UsageError(f"{missing!r} has no label; label every image (.cls or .json), or {UNLABELLED}")
        unknown = sorted(set(found.classes) - set(classes))
        if unknown:
            raise UsageError(
                f"data.{self.name} has a label {unknown[0]!r} that no training image has; {UNLABELLED}"
            )
        places = np.array([classes.index(label) for label in found.classes])
        self.labels, self.classes = places[found.labels], classes
        self.decisions.labels = "labels are those of .cls or .json members"

    def source(self, chosen: list[int] | None = None) -> ShardImages:
        """All shards, or those chosen."""
        counts, firsts = self.index.counts, self.index.counts.cumsum() - self.index.counts
        chosen = list(range(len(self.paths))) if chosen is None else chosen
        images = TarImages([self.paths[s] for s in chosen], counts[chosen], firsts[chosen], self.index.starts)
        labels, classes = None, None
        if self.labels is not None:
            rows = [self.labels[firsts[s] : firsts[s] + counts[s]] for s in chosen]
            labels, classes = torch.from_numpy(np.concatenate(rows)).long(), self.classes
        source = ShardImages(images, labels, classes)
        own = set(images.paths)
        source.skipped = [(path, why) for path, why in self.index.problems if path in own]
        source.decisions = self.decisions
        return source


def find_shards(where: str, split: str) -> list[str]:
    """The tar files that a path, a folder or a pattern means, in the order of their names.

    Raises:
        UsageError: if there are none, or one of ``{0000..0099}`` is missing.
    """
    if where in (None, "", "???"):
        raise UsageError(f"data=shards needs data.{split}=SHARDS, such as 'shards/{{0000..0099}}.tar'")
    found: list[str] = []
    for pattern in expand_braces(os.path.expanduser(str(where))):
        if os.path.isdir(pattern):
            below = sorted(glob.glob(os.path.join(glob.escape(pattern), "**", "*.tar"), recursive=True))
            require_one_split(Path(pattern), map(Path, below), f"data.{split}")
            found += below
        elif os.path.exists(pattern):
            found.append(pattern)
        elif any(mark in pattern for mark in "*?["):
            found += sorted(glob.glob(pattern, recursive=True))
        else:
            raise UsageError(f"there is no shard {pattern!r} (data.{split}){did_you_mean(Path(pattern))}")
    if not found:
        raise UsageError(f"{where!r} (data.{split}) means no tar files")
    if len(set(found)) < len(found):
        twice = next(path for n, path in enumerate(found) if path in found[:n])
        raise UsageError(f"{where!r} (data.{split}) names {twice!r} more than once")
    return found


def expand_braces(pattern: str) -> Iterator[str]:
    """``{000..002}`` and ``{a,b}`` written out, as a shell does.

    >>> list(expand_braces("{train,val}-{08..10}.tar"))[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    found = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if not found:
        yield pattern
        return
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    words = found[1].split(",")
    if ends:
        width = len(ends[1]) if ends[1].startswith("0") else 0
        words = [str(number).zfill(width) for number in range(int(ends[1]), int(ends[2]) + 1)]
    for word in words:
        yield from expand_braces(pattern[: found.start()] + word + pattern[found.end() :])
