"""ImageNet, and the part of it called ImageNet-100, as folders of classes."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from selfsup.data.readers.names import Below
from selfsup.data.readers.others import class_folders, images_in
from selfsup.data.readers.paths import did_you_mean, existing_folder
from selfsup.data.source import ImageFiles, Source, subset
from selfsup.data.splits import Splits
from selfsup.errors import UsageError

LISTED = Path(__file__).with_name("imagenet100.txt")


def imagenet(root: str, classes: str | None) -> Splits:
    """ImageNet (Russakovsky et al. 2015, arXiv:1409.0575): 1,281,167 + 50,000 photographs, 1,000 classes.

    Args:
        root: a folder with `train/` and `val/`, each with a folder a class, named by its WordNet number
            (`n01440764`), as torchvision's `ImageNet` and `ImageFolder` have them.
        classes: a file of those to take, one a line; None takes all.

    Returns:
        Sources "train", and "val", which is also "test".

    Raises:
        UsageError: if a folder is not there, or not sorted into classes.
    """
    top = existing_folder(root, "imagenet")
    wanted = None if classes is None else _listed(classes)

    train, val = (partial(_part, top, name, wanted, classes) for name in ("train", "val"))
    return Splits({"train": train, "val": val, "test": val})


def imagenet100(root: str, classes: str | None) -> Splits:
    """ImageNet-100: those 100 classes of `imagenet` that Tian, Krishnan and Isola drew (arXiv:1906.05849).

    Args:
        root: as for `imagenet`, with all its classes or only these.
        classes: a file of other classes; None takes the paper's, in `imagenet100.txt` beside this file.
    """
    return imagenet(root, str(LISTED) if classes is None else classes)


def _listed(file: str) -> list[str]:
    path = Path(str(file)).expanduser()
    try:
        names = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise UsageError(f"data.classes: there is no '{file}'{did_you_mean(path)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"data.classes: {file!r} cannot be read: {error}") from error
    if len(set(names)) < 2:
        raise UsageError(f"data.classes: {file!r} names {len(set(names))} classes; at least two are needed")
    return sorted(set(names))


def _part(top: Path, split: str, wanted: list[str] | None, file: str | None) -> Source:
    folder = top / split
    if not folder.is_dir():
        raise UsageError(
            f"no folder {str(folder)!r}{did_you_mean(folder)}; data.root must hold train/ and val/, each "
            "with a folder a class"
        )
    tree = images_in(folder, at_least=2)
    classes = class_folders(tree)
    if classes is None:
        raise UsageError(
            f"images in {str(folder)!r} are in no class folders; sort them as torchvision.datasets.ImageNet "
            "does when it unpacks the archive"
        )
    kept = classes if wanted is None else wanted
    missing = [name for name in kept if name not in set(classes)]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(kept)} classes in {str(file)!r} are not in {str(folder)!r}, the "
            f"first {missing[0]!r}; add them, or name others with data.classes=FILE"
        )
    number = {name: i for i, name in enumerate(kept)}
    of_folder = np.array([number.get(inside.split("/")[0], -1) for inside in tree.folders])
    labels = torch.from_numpy(of_folder[tree.folder_of])
    source = ImageFiles(Below(str(folder), tree.names), labels, kept)
    return source if (of_folder >= 0).all() else subset(source, (labels >= 0).nonzero().flatten())
