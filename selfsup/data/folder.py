"""A folder of images, with labels if its sub-folders name classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup.data.names import Below
from selfsup.data.paths import did_you_mean
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.data.split import held_out_count, hold_out
from selfsup.data.splits import Splits
from selfsup.data.tree import EXTENSIONS, find_images
from selfsup.data.tree_index import Tree
from selfsup.errors import UsageError

TEST_FOLDERS = ("test", "val", "valid", "validation")
UNLABELLED = "pass data.labels=false to learn without labels"


def folder(root: str, labels: str | bool = "auto", *, test_fraction: float) -> Splits:
    """The images in a folder, searched to any depth, in the order of their names; hidden files are left out.

    A folder `train/` beside `test/` (or `val/`, `valid/`, `validation/`; the first of these that has the
    class folders) is the split, each can also be had by its own name, and whatever else lies beside them is
    left out. Otherwise `test_fraction` is held out, stratified by class.

    Args:
        root: the folder.
        labels: True: the first-level sub-folders (of each split) name the classes; False: no labels;
            "auto": as True if all images are inside two or more such sub-folders, else as False.
        test_fraction: in (0, 1).

    Returns:
        Sources "train" and "test", and those of the other folders, such as "val".

    Raises:
        UsageError: if there is no such folder, fewer than two images, or labels that cannot be had.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    learn_folder, tests = _split_folders(existing_folder(root))
    learn = _labelled(learn_folder, labels)
    if tests:
        return _given(learn, tests)
    train, test = hold_out(
        learn.tree.hashes, learn.labels, held_out_count(len(learn.tree.names), test_fraction)
    )
    if not len(test):
        raise UsageError(
            f"each class in {root!r} has a single image, so that none can be held out for testing; "
            f"add images, or {UNLABELLED}"
        )
    source = learn.source()
    return Splits({"train": lambda: subset(source, train), "test": lambda: subset(source, test)})


@dataclass
class Images:
    """Images below one folder, and their labels."""

    top: Path
    tree: Tree
    labels: Tensor | None = None
    classes: list[str] | None = None

    def source(self) -> ImageFiles:
        return ImageFiles(Below(str(self.top), self.tree.names), self.labels, self.classes)


def _given(learn: Images, tests: dict[str, Path]) -> Splits:
    """The splits that the folders make."""
    readers: dict[str, Callable[[], Source]] = {
        name: partial(_source_like, learn, top) for name, top in tests.items()
    }
    readers["train"] = learn.source
    readers["test"] = readers[_test_folder(learn, tests)]
    return Splits(readers)


def _source_like(learn: Images, top: Path) -> ImageFiles:
    return matching(learn, top).source()


def existing_folder(root: str | None, data: str = "folder") -> Path:
    """``root`` as a path, if it is a folder that can be read; a sentence says why not."""
    if root in (None, "", "???"):
        raise UsageError(f"data={data} needs data.root=PATH, the folder of your images")
    path = Path(str(root)).expanduser()  # a folder called 2024 comes as a number
    if os.path.isfile(path):
        raise UsageError(f"{root!r} is a file; data.root must be the folder that holds the images")
    if not os.path.isdir(path):
        raise UsageError(f"no folder {root!r}{did_you_mean(path)}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"folder {root!r} may not be read; change its permissions")
    return path


def _split_folders(top: Path) -> tuple[Path, dict[str, Path]]:
    """The folder to learn from, and by name those to test on; none of these if images are to be held out."""
    names = sorted(os.listdir(top))
    # Of a million names, only these few are looked at.
    here = {name.lower(): top / name for name in names if name.lower() in ("train", *TEST_FOLDERS)}
    here = {name: path for name, path in here.items() if path.is_dir()}
    tests = {name: here[name] for name in TEST_FOLDERS if name in here}
    if "train" in here and (tests or sum(map(os.path.isdir, map(top.joinpath, names))) == 1):
        return here["train"], tests
    return top, {}


def images_in(top: Path, at_least: int) -> Tree:
    """The image files below `top`, refused where there are fewer than so many."""
    tree = find_images(top)
    if not len(tree.names):
        raise UsageError(f"no images in {str(top)!r}; looked for files ending in {', '.join(EXTENSIONS)}")
    if len(tree.names) < at_least:
        raise UsageError(f"only one image in {str(top)!r} ({tree.names[0]!r}); at least two are needed")
    return tree


def _labelled(top: Path, labels: str | bool) -> Images:
    tree = images_in(top, at_least=2)
    classes = class_folders(tree)
    if labels is True and classes is None:
        loose = tree.names[int(np.argmax(tree.folder_of == tree.folders.index("")))]
        raise UsageError(
            f"labels are asked for, but image {loose!r} in {str(top)!r} is in no sub-folder that names it; "
            f"sort the images into one folder a class, or {UNLABELLED}"
        )
    if labels is True and classes is not None and len(classes) == 1:
        raise UsageError(
            f"labels are asked for, but {str(top)!r} has only one class folder, {classes[0]!r}; "
            f"add a second, or {UNLABELLED}"
        )
    if labels is False or classes is None or len(classes) == 1:
        return Images(top, tree)
    return Images(top, tree, _numbers(tree, classes), classes)


def class_folders(tree: Tree) -> list[str] | None:
    """The first-level sub-folders, or None if an image lies outside of any."""
    return None if "" in tree.folders else sorted({_first(inside) for inside in tree.folders})


def _first(inside: str) -> str:
    return inside.split(os.sep, 1)[0]


def _numbers(tree: Tree, classes: list[str]) -> Tensor:
    position = {name: i for i, name in enumerate(classes)}
    of_folder = torch.tensor([position[_first(inside)] for inside in tree.folders])
    return of_folder[torch.from_numpy(tree.folder_of).long()]


def _test_folder(learn: Images, tests: dict[str, Path]) -> str:
    """The first test folder, or, where training has labels, the first whose images are in class folders."""
    for name, top in tests.items():
        if learn.classes is None or class_folders(images_in(top, at_least=1)) is not None:
            return name
    return next(iter(tests))


def matching(learn: Images, top: Path) -> Images:
    """The images of another folder, with the classes of `learn` if it has some."""
    tree = images_in(top, at_least=1)
    if learn.classes is None:
        return Images(top, tree)
    classes = class_folders(tree)
    if classes is None:
        raise UsageError(
            f"images in {str(top)!r} are not in class folders as those in {str(learn.top)!r} are; "
            f"sort them, or {UNLABELLED}"
        )
    unknown = sorted(set(classes) - set(learn.classes))
    if unknown:
        raise UsageError(
            f"{str(top)!r} has a class {unknown[0]!r} that {str(learn.top)!r} lacks; "
            f"rename or remove it, or {UNLABELLED}"
        )
    return Images(top, tree, _numbers(tree, learn.classes), learn.classes)
