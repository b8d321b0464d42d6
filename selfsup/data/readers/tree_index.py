"""The index of a folder's images: its content, and its place between runs."""

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.readers.kinds import image_endings
from selfsup.data.readers.names import FileNames

FORMAT = 3  # a new number invalidates older indexes


@dataclass(frozen=True)
class Listing:
    """One folder's entries.

    Attributes:
        time: of its last modification, in nanoseconds; 0 if the listing is not to be used again.
        files: the image files' names.
        folders: names of the folders in it.
        links: names of the links in it that lead to folders, or to nothing.
        others: the files that are not images, by ending: ``count ending/first/last``, with two of their
            names.
    """

    time: int
    files: FileNames
    folders: list[str]
    links: list[str]
    others: list[str]


@dataclass(frozen=True)
class Tree:
    """The N image files below a folder, sorted by path.

    Attributes:
        names: their paths relative to the folder.
        folders: the F folders that hold them, relative to the top; "" is the top itself.
        folder_of: int32 (N,), which of them holds each file.
        hashes: uint64 (N,), of the names (`selfsup.data.holdout.hashes`).
        others: of each folder that has some, the other files in it, as in `Listing`.
        broken: links that lead nowhere and are not named like an image.
    """

    names: FileNames
    folders: list[str]
    folder_of: np.ndarray
    hashes: np.ndarray
    others: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def sizes(self) -> np.ndarray:
        """int64 (F,), the images in each folder."""
        return np.bincount(self.folder_of, minlength=len(self.folders))


def index_file(top: Path, endings: Iterable[str] = ()) -> Path:
    """Where the index of a folder is kept: in ``$XDG_CACHE_HOME``, or ``~/.cache``.

    Args:
        endings: further ones that count as images' in this folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    place = [os.path.realpath(top), *sorted(endings)]
    key = hashlib.blake2b(os.fsencode("\0".join(place)), digest_size=12).hexdigest()
    return Path(cache) / "selfsup" / "index" / f"{key}.npz"


def load_index(file: Path) -> tuple[dict[str, Listing], Tree | None]:
    """The listings by folder, and the tree made of them; nothing if there is no index that can be read."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["format"]) != FORMAT or str(stored["usual"]) != _usual():
                return {}, None
            return _unpacked({key: stored[key] for key in stored.files})
    except FileNotFoundError:
        return {}, None
    # Exceptions of a damaged archive; the index is made again, and replaces it.
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return {}, None


def _usual() -> str:
    """The endings of images: more of them if Pillow reads more formats."""
    return " ".join(image_endings())


def save_index(top: Path, file: Path, listings: Mapping[str, Listing], tree: Tree) -> None:
    """Write the index in one step, so that a run that reads it meanwhile sees the old one or the new one. If
    the cache folder cannot be written, a warning is logged and the next start lists the folder again.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            try:
                np.savez(part, **_packed(listings, tree))
                part.close()
                os.replace(part.name, file)
            except BaseException:
                os.unlink(part.name)
                raise
    except OSError as error:
        warnings.warn(
            f"the index of {str(top)!r} cannot be stored in {str(file.parent)!r} ({error.strerror}), so the "
            "next start lists the folder again; set XDG_CACHE_HOME to a folder that can be written",
            stacklevel=2,
        )


def _packed(listings: Mapping[str, Listing], tree: Tree) -> dict[str, Any]:
    each = list(listings.values())
    columns: dict[str, Any] = {
        "inside": [list(listings)],
        "files": [listing.files for listing in each],
        "subfolders": [listing.folders for listing in each],
        "links": [listing.links for listing in each],
        "others": [listing.others for listing in each],
        "names": [tree.names],
        "folders": [tree.folders],
    }
    packed: dict[str, Any] = {
        "format": FORMAT,
        "usual": np.array(_usual()),
        "times": np.array([listing.time for listing in each], np.int64),
        "folder_of": tree.folder_of,
        "hashes": tree.hashes,
    }
    for key, groups in columns.items():
        flat = [group if isinstance(group, FileNames) else FileNames.of(group) for group in groups]
        starts = np.cumsum([0, *(len(group.text) for group in flat)])
        packed[f"{key}.text"] = np.concatenate([group.text for group in flat])
        packed[f"{key}.ends"] = np.concatenate(
            [group.ends + start for group, start in zip(flat, starts, strict=False)]
        )
        packed[f"{key}.counts"] = np.array([len(group) for group in flat], np.int64)
    return packed


def _unpacked(stored: Mapping[str, np.ndarray]) -> tuple[dict[str, Listing], Tree]:
    [inside], [names], [folders] = (_groups(stored, key) for key in ("inside", "names", "folders"))
    columns = (_groups(stored, key) for key in ("files", "subfolders", "links", "others"))
    listings = {
        path: Listing(modified, files, *(list(_each(names)) for names in rest))
        for path, modified, files, *rest in zip(
            _each(inside), stored["times"].tolist(), *columns, strict=True
        )
    }
    tree = Tree(names, list(_each(folders)), stored["folder_of"], stored["hashes"])
    if not len(names) == len(tree.folder_of) == len(tree.hashes):
        raise ValueError("columns of different lengths")
    return listings, tree


def _groups(stored: Mapping[str, np.ndarray], key: str) -> Iterable[FileNames]:
    text, ends, counts = (stored[f"{key}.{part}"] for part in ("text", "ends", "counts"))
    last = 0
    for first, count in zip(np.cumsum(counts) - counts, counts, strict=True):
        inside = ends[first : first + count]
        stop = int(inside[-1]) if count else last
        yield FileNames(text[last:stop], inside - last)
        last = stop


def _each(names: FileNames) -> Iterable[str]:
    return (names[i] for i in range(len(names)))
