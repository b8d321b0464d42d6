"""Data sets that torchvision downloads and reads."""

import pickle
import tarfile
from collections.abc import Callable
from typing import Any

import torch

from selfsup.data.source import ImageArray
from selfsup.errors import UsageError


def cifar10(root: str, download: bool) -> tuple[ImageArray, ImageArray]:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 images of 32 x 32 pixels, 10 classes.

    Args:
        root: the folder that holds or will hold `cifar-10-batches-py`.
        download: whether to fetch the files (170 MB) if they are not there.

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if the files are missing, damaged, or cannot be downloaded.
    """
    return _cifar("CIFAR10", root, download)


def cifar100(root: str, download: bool) -> tuple[ImageArray, ImageArray]:
    """CIFAR-100 (Krizhevsky 2009): as `cifar10`, with 100 classes and the folder `cifar-100-python`."""
    return _cifar("CIFAR100", root, download)


def stl10(root: str, download: bool, unlabelled: bool) -> tuple[ImageArray, ImageArray]:
    """STL-10 (Coates, Ng and Lee 2011): 5,000 + 8,000 images of 96 x 96 pixels, 10 classes.

    Args:
        root: the folder that holds or will hold `stl10_binary`.
        download: whether to fetch the files (2.6 GB) if they are not there.
        unlabelled: whether training takes the 100,000 unlabelled images too (3 GB of memory); its labels
            are then None.

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if the files are missing, damaged, or cannot be downloaded.
    """

    def part(split: str) -> ImageArray:
        data = _read("STL10", root, download, split=split)
        names = [f"stl10 {split} {i}" for i in range(len(data.data))]
        labels = None if "unlabeled" in split else torch.as_tensor(data.labels).long()
        classes = None if labels is None else list(data.classes)
        return ImageArray(torch.from_numpy(data.data).contiguous(), labels, classes, names)

    return part("train+unlabeled" if unlabelled else "train"), part("test")


def _cifar(name: str, root: str, download: bool) -> tuple[ImageArray, ImageArray]:
    def part(train: bool) -> ImageArray:
        data = _read(name, root, download, train=train)
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        names = [f"{name.lower()} {'train' if train else 'test'} {i}" for i in range(len(images))]
        return ImageArray(images, torch.tensor(data.targets), list(data.classes), names)

    return part(True), part(False)


def _read(name: str, root: str, download: bool, **split: Any) -> Any:
    import torchvision

    dataset: Callable[..., Any] = getattr(torchvision.datasets, name)
    try:
        return dataset(str(root), download=download, **split)
    # RuntimeError: the files are absent or fail their checksum; OSError: no network, or no right to write.
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError, tarfile.TarError) as error:
        if download:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise UsageError(
                f"{name} could not be downloaded to {root!r} ({reason}); without a network, put the files "
                "there or where data.root=FOLDER says, or read a copy with data=parquet"
            ) from error
        raise UsageError(
            f"{name} is not in {root!r}, or damaged; pass data.download=true to fetch it, "
            "data.root=FOLDER where the files are, or read a copy with data=parquet"
        ) from error
