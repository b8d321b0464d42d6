"""A folder of images, with labels if its sub-folders name classes."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup.data.decisions import Decisions
from selfsup.data.holdout import hashes, held_out_count, hold_out
from selfsup.data.readers.layout import STRAYS, TRAIN, Judge
from selfsup.data.readers.names import Below, FileNames
from selfsup.data.readers.nodes import Layout, listed
from selfsup.data.readers.others import Others, images_in, one_image
from selfsup.data.readers.paths import existing_folder
from selfsup.data.readers.tree_index import Tree
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.data.splits import Splits
from selfsup.errors import UsageError
from selfsup.text import shown

UNLABELLED = "pass data.labels=false to learn without labels"


def folder(
    root: str,
    labels: str | bool = "auto",
    endings: Sequence[str] | str | None = None,
    *,
    test_fraction: float,
) -> Splits:
    """The images in a folder, searched to any depth, in the order of their names; hidden files are left out.

    What the folders in it are is judged by what they hold (`readers.layout`): splits hold sub-folders of
    the same names, or are called so (``train/`` beside ``test/`` or ``val/``, in several languages); folders
    that hold files of the same names show the same things in several ways, as images and masks do, and one of
    them is taken; otherwise they are classes. Where no split is for testing, `test_fraction` is held out,
    stratified by class. What was decided stands in the sources' ``decisions``.

    Args:
        root: the folder.
        labels: True: the sub-folders (of each split) name the classes; False: no labels; "auto": as True if
            there are two or more and at most a tenth of the images lie beside them, which are left out.
        endings: of files that are images beside those whose endings are known to be.
        test_fraction: in (0, 1).

    Returns:
        Sources "train" and "test", and those of the other folders, such as "val".

    Raises:
        UsageError: if there is no such folder, fewer than two images, or no labels where they are required.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    top = existing_folder(root)
    tree = images_in(top, 2, [endings] if isinstance(endings, str) else endings or [])
    layout = Judge(str(top), tree, insist=labels is True).layout()
    found = Images(top, tree, layout)
    learn = found.split(TRAIN)
    if len(learn.rows) < 2:
        raise one_image(top, tree.names[int(learn.rows[0])])
    learn, why = _labelled(learn, labels)
    decisions = found.decisions(learn, why)
    test = _test_split(found, learn, labels)
    if test is not None:
        return _given(found, learn, test, decisions)
    train, held = _held_out(root, learn, test_fraction)
    decisions.splits = "; ".join(
        [*layout.said, f"{len(held)} of {len(train) + len(held)} images are held out for testing"]
    )
    source = learn.source(decisions)
    readers = {name: partial(_source_like, found, learn, name, decisions) for name in layout.tests}
    return Splits({**readers, "train": lambda: subset(source, train), "test": lambda: subset(source, held)})


@dataclass
class Images:
    """The images below one folder.

    Attributes:
        top: the folder.
        rows: int64, the selected ones of the tree; all if None was given.
    """

    top: Path
    tree: Tree
    layout: Layout

    def split(self, name: str) -> "Split":
        places = [self.layout.place.get(folder, ("", None)) for folder in self.tree.folders]
        inside = np.array([split == name for split, _ in places])
        return Split(self, name, inside[self.tree.folder_of].nonzero()[0], [label for _, label in places])

    def decisions(self, learn: "Split", why: str) -> Decisions:
        """What was decided about the images of the training split and others."""
        others = Others(self.top, self.tree)
        left_out: dict[str, int] = {}
        sizes = dict(zip(self.tree.folders, self.tree.sizes().tolist(), strict=True))
        for folder, count in sizes.items():
            if folder not in self.layout.place and count:
                reason = _reason(self.layout, folder)
                left_out[reason] = left_out.get(reason, 0) + count
        placed = (sizes[folder] for folder, (split, _) in self.layout.place.items() if split == TRAIN)
        if strays := sum(placed) - len(learn.rows):
            left_out["beside the folders that name classes"] = strays
        if empty := others.without_images():
            why += f"; no image can be read in {listed(empty)}"
        return Decisions("; ".join(self.layout.said), why, left_out={**left_out, **others.left_out()})


@dataclass
class Split:
    """Some of the images, and their labels.

    Attributes:
        rows: int64, of the tree.
        classes_of: the class of each folder of the tree, None without one.
        labels: int64, of the rows; None without.
    """

    of: Images
    name: str
    rows: np.ndarray
    classes_of: list[str | None]
    labels: Tensor | None = None
    classes: list[str] | None = None

    @property
    def folders(self) -> np.ndarray:
        """int, of each image, its folder's place in the tree."""
        return self.of.tree.folder_of[self.rows]

    def found(self) -> list[str]:
        """The classes that its folders name."""
        here = np.unique(self.folders)
        return sorted({name for i in here.tolist() if (name := self.classes_of[i]) is not None})

    def loose(self) -> np.ndarray:
        """bool, the images in no class folder."""
        return np.array([name is None for name in self.classes_of])[self.folders]

    def numbered(self, classes: list[str]) -> "Split":
        """With labels; images in no class folder are left out."""
        position = {name: i for i, name in enumerate(classes)}
        of_folder = torch.tensor([position.get(name or "", -1) for name in self.classes_of])
        kept = replace(self, rows=self.rows[~self.loose()], classes=classes)
        kept.labels = of_folder[torch.from_numpy(kept.folders).long()]
        return kept

    def names(self) -> FileNames:
        names = self.of.tree.names
        whole = len(self.rows) == len(names)
        return names if whole else names.picked(self.rows)

    def source(self, decisions: Decisions) -> ImageFiles:
        source = ImageFiles(Below(str(self.of.top), self.names()), self.labels, self.classes)
        source.decisions = decisions
        return source

    def keys(self) -> np.ndarray:
        """uint64, hashes of the paths below the split's own folder, by which images are held out."""
        base = self.of.layout.base
        if not base:
            return self.of.tree.hashes[self.rows]
        names = self.names()
        return hashes(names[i][len(base) + 1 :] for i in range(len(names)))


def _labelled(learn: Split, labels: str | bool) -> tuple[Split, str]:
    """Training images with their labels, if there are any, and a sentence about them."""
    top = shown(os.path.join(learn.of.top, learn.of.layout.top)).rstrip(os.sep)
    classes, loose = learn.found(), learn.loose()
    if labels is False:
        return learn, "no labels: data.labels=false"
    stray = learn.of.tree.names[int(learn.rows[loose.argmax()])]
    if labels is True and loose.any() and (classes or not _folders(learn)):
        raise UsageError(
            f"data.labels=true, but image '{shown(stray)}' in '{top}' is in no sub-folder that names it; "
            f"sort the images into one folder a class, or {UNLABELLED}"
        )
    if labels is True and len(classes) < 2:
        only = classes or _folders(learn)
        raise UsageError(
            f"data.labels=true, but '{top}' has only one class folder, '{shown(only[0])}'; "
            f"add a second, or {UNLABELLED}"
        )
    if len(classes) < 2:
        return learn, "no labels: the images lie in one folder"
    if loose.sum() > STRAYS * len(loose):
        return learn, (
            f"no labels: {int(loose.sum())} of {len(loose)} images, such as '{shown(stray)}', lie beside the "
            f"folders {listed(classes)}, which would name classes"
        )
    return learn.numbered(classes), f"labels are the names of the {len(classes)} folders {listed(classes)}"


def _folders(learn: Split) -> list[str]:
    """The first folders below the top; none if an image lies beside them."""
    inside = [learn.of.tree.folders[i] for i in np.unique(learn.folders)]
    return [] if "" in inside else sorted({path.split(os.sep, 1)[0] for path in inside})


def _test_split(found: Images, learn: Split, labels: str | bool) -> str | None:
    """The first test split, or, where training has labels, the first whose images are in class folders."""
    tests = found.layout.tests
    if learn.classes is None:
        return tests[0] if tests else None
    for name in tests:
        if found.split(name).found():
            return name
    if tests and labels is True:
        raise UsageError(_unsorted(found, tests[0]))
    return None


def _given(found: Images, learn: Split, test: str, decisions: Decisions) -> Splits:
    """The splits that the folders make."""
    readers: dict[str, Callable[[], Source]] = {
        name: partial(_source_like, found, learn, name, decisions) for name in found.layout.tests
    }
    readers["train"] = partial(learn.source, decisions)
    readers["test"] = readers[test]
    decisions.splits += f"; images to test on are those in '{shown(test)}'"
    return Splits(readers)


def _source_like(found: Images, learn: Split, name: str, decisions: Decisions) -> ImageFiles:
    """The images of another split, with the classes of `learn` if it has some."""
    split = found.split(name)
    if learn.classes is None:
        return split.source(decisions)
    classes = split.found()
    loose = split.loose()
    if loose.sum() > STRAYS * len(loose):
        raise UsageError(_unsorted(found, name))
    unknown = sorted(set(classes) - set(learn.classes))
    if unknown:
        raise UsageError(
            f"the split '{shown(name)}' of '{shown(found.top)}' has a class '{shown(unknown[0])}' that the "
            f"training images lack; rename or remove it, or {UNLABELLED}"
        )
    return split.numbered(learn.classes).source(decisions)


def _unsorted(found: Images, name: str) -> str:
    return (
        f"images of the split '{shown(name)}' in '{shown(found.top)}' are not in class folders as those for "
        f"training are; sort them, or {UNLABELLED}"
    )


def _held_out(root: str, learn: Split, test_fraction: float) -> tuple[Tensor, Tensor]:
    count = held_out_count(len(learn.rows), test_fraction)
    train, test = hold_out(learn.keys(), learn.labels, count)
    if not len(test):
        raise UsageError(
            f"each class in {root!r} has a single image, so that none can be held out for testing; "
            f"add images, or {UNLABELLED}"
        )
    return train, test


def _reason(layout: Layout, folder: str) -> str:
    """Why the images of a folder are not used."""
    above = folder
    while above:
        if above in layout.reasons:
            return layout.reasons[above]
        above = os.path.dirname(above)
    used = [f"{each}{os.sep}" for each in layout.place]
    outermost = folder
    while (above := os.path.dirname(outermost)) and not any(each.startswith(above + os.sep) for each in used):
        outermost = above
    where = f"in '{shown(os.path.basename(outermost))}', " if outermost else ""
    return f"{where}beside the folders of the splits"
