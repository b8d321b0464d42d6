"""A folder of images, with labels if its sub-folders name classes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from selfsup.data.paths import did_you_mean
from selfsup.data.source import ImageFiles, Source, in_memory, subset
from selfsup.data.split import held_out_count, hold_out
from selfsup.errors import UsageError

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "jp2", "avif")
TEST_FOLDERS = ("test", "val", "valid", "validation")
UNLABELLED = "pass data.labels=false to learn without labels"


def folder(root: str, labels: str | bool = "auto", *, test_fraction: float) -> tuple[Source, Source]:
    """The images in a folder, searched to any depth, in the order of their names; hidden files are left out.

    A folder `train/` beside `test/` (or `val/`, `valid/`, `validation/`; the first of these that has the
    class folders) is the split, and whatever else lies beside them is left out. Otherwise `test_fraction`
    is held out, stratified by class. Images of one small size are decoded into memory; others are read when
    asked for.

    Args:
        root: the folder.
        labels: True: the first-level sub-folders (of each split) name the classes; False: no labels;
            "auto": as True if all images are inside two or more such sub-folders, else as False.
        test_fraction: in (0, 1).

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if there is no such folder, fewer than two images, or labels that cannot be had.
    """
    if labels not in ("auto", True, False):
        raise UsageError(f"data.labels must be auto, true or false, not {labels!r}")
    learn_folder, test_folders = _split_folders(_existing(root))
    learn = _labelled(learn_folder, labels)
    if test_folders:
        return in_memory(learn.source()), in_memory(_matching(learn, test_folders).source())
    train, test = hold_out(learn.keys, learn.labels, held_out_count(len(learn.keys), test_fraction))
    if not len(test):
        raise UsageError(
            f"each class in {root!r} has a single image, so that none can be held out for testing; "
            f"add images, or {UNLABELLED}"
        )
    source = learn.source()
    return in_memory(subset(source, train)), in_memory(subset(source, test))


@dataclass
class _Images:
    """Images below one folder: their paths relative to it, and their labels."""

    top: Path
    keys: list[str]
    labels: Tensor | None = None
    classes: list[str] | None = None

    def source(self) -> ImageFiles:
        return ImageFiles([str(self.top / key) for key in self.keys], self.labels, self.classes)


def _existing(root: str | None) -> Path:
    if root in (None, "", "???"):
        raise UsageError("data=folder needs data.root=PATH, the folder of your images")
    path = Path(str(root)).expanduser()  # a folder called 2024 comes as a number
    if os.path.isfile(path):
        raise UsageError(f"{root!r} is a file; data.root must be the folder that holds the images")
    if not os.path.isdir(path):
        raise UsageError(f"no folder {root!r}{did_you_mean(path)}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"folder {root!r} may not be read; change its permissions")
    return path


def _split_folders(top: Path) -> tuple[Path, list[Path]]:
    """The folder to learn from, and the folders that may be its test split, none if one is to be held out."""
    here = {name.lower(): top / name for name in sorted(os.listdir(top)) if os.path.isdir(top / name)}
    tests = [here[name] for name in TEST_FOLDERS if name in here]
    if "train" in here and (tests or len(here) == 1):
        return here["train"], tests
    return top, []


def _found(top: Path, at_least: int) -> list[str]:
    """The image files below `top`: sorted paths relative to it."""
    keys = sorted(_walk(top))
    if not keys:
        raise UsageError(f"no images in {str(top)!r}; looked for files ending in {', '.join(EXTENSIONS)}")
    if len(keys) < at_least:
        raise UsageError(f"only one image in {str(top)!r} ({keys[0]!r}); at least two are needed")
    return keys


def _walk(top: Path) -> list[str]:
    endings = tuple(f".{extension}" for extension in EXTENSIONS)

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read folder {error.filename!r}: {error.strerror}") from error

    keys = []
    for here, folders, files in os.walk(top, onerror=refuse, followlinks=True):
        # A link to a folder above would be walked round and round.
        folders[:] = [
            name for name in folders if name[0] != "." and not _holds(os.path.join(here, name), here)
        ]
        inside = os.path.relpath(here, top)
        keys += [
            name if inside == "." else os.path.join(inside, name)
            for name in files
            if not name.startswith(".") and name.lower().endswith(endings)
        ]
    return keys


def _holds(path: str, inner: str) -> bool:
    """Whether `path` is a link to a folder that is, or contains, `inner`."""
    if not os.path.islink(path):
        return False
    outer = os.path.realpath(path)
    return os.path.commonpath([outer, os.path.realpath(inner)]) == outer


def _labelled(top: Path, labels: str | bool) -> _Images:
    keys = _found(top, at_least=2)
    classes = _classes(keys)
    if labels is True and classes is None:
        loose = next(key for key in keys if os.sep not in key)
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
        return _Images(top, keys)
    return _Images(top, keys, _numbers(keys, classes), classes)


def _classes(keys: Sequence[str]) -> list[str] | None:
    """The first-level sub-folders, or None if an image lies outside of any."""
    parts = [key.split(os.sep, 1) for key in keys]
    return sorted({part[0] for part in parts}) if all(len(part) == 2 for part in parts) else None


def _numbers(keys: Sequence[str], classes: list[str]) -> Tensor:
    position = {name: i for i, name in enumerate(classes)}
    return torch.tensor([position[key.split(os.sep, 1)[0]] for key in keys])


def _matching(train: _Images, tops: list[Path]) -> _Images:
    """The first test folder, or, where training has labels, the first whose images are in class folders."""
    for top in tops:
        keys = _found(top, at_least=1)
        if train.classes is None:
            return _Images(top, keys)
        classes = _classes(keys)
        if classes is None:
            continue
        unknown = sorted(set(classes) - set(train.classes))
        if unknown:
            raise UsageError(
                f"{str(top)!r} has a class {unknown[0]!r} that {str(train.top)!r} lacks; "
                f"rename or remove it, or {UNLABELLED}"
            )
        return _Images(top, keys, _numbers(keys, train.classes), train.classes)
    raise UsageError(
        f"images in {str(tops[0])!r} are not in class folders as those in {str(train.top)!r} are; "
        f"sort them, or {UNLABELLED}"
    )
