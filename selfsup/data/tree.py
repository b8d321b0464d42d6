"""The image files below a folder, found quickly again by an index that notices changes."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from selfsup.data.names import FileNames
from selfsup.data.split import hashes
from selfsup.data.tree_index import Listing, Tree, load_index, save_index
from selfsup.errors import UsageError

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "jp2", "avif")
KEEP = 10_000  # files from which on an index is kept; fewer are listed about as fast as an index is read
SETTLED = 2 * 10**9  # nanoseconds after which a further change is sure to give a folder another time

_ENDINGS = tuple(f".{extension}" for extension in EXTENSIONS)


def find_images(top: Path) -> Tree:
    """The image files below ``top``, at any depth, sorted by path; hidden files and folders are left out.

    Links are followed. A folder that can be reached in several ways is visited once, by its own path rather
    than by a link where it has both, so that a link to a folder above does no harm. Links that lead nowhere
    are kept where they are called like an image: whoever reads them can name them.

    A folder is listed anew only if its modification time is another than in the index, which is kept in the
    user's cache folder for trees of 10,000 files or more. So the next start costs one ``stat`` a folder.

    Raises:
        UsageError: if a folder cannot be read.
    """
    known, tree = load_index(top)
    listings = _visit(top, known)
    same = listings.keys() == known.keys() and all(listings[key] is known[key] for key in known)
    if tree is not None and same:
        return tree
    tree = _sorted(listings)
    if len(tree.names) >= KEEP:
        save_index(top, listings, tree)
    return tree


def _visit(top: Path, known: dict[str, Listing]) -> dict[str, Listing]:
    """The listing of every folder by its path relative to ``top``: that in ``known``, or a new one."""
    listings: dict[str, Listing] = {}
    visited = set()
    folders: list[str] = [""]
    links: list[str] = []
    while folders or links:
        linked = not folders
        inside = links.pop(0) if linked else folders.pop()
        path = os.path.join(top, inside)
        try:
            about = os.stat(path)
            if linked and not os.path.isdir(path):
                continue
            if (about.st_dev, about.st_ino) in visited:
                continue
            visited.add((about.st_dev, about.st_ino))
            listing = known.get(inside)
            if listing is None or listing.time != about.st_mtime_ns:
                settled = time.time_ns() - about.st_mtime_ns > SETTLED
                listing = _list(path, about.st_mtime_ns if settled else 0)
        except OSError as error:
            if linked and isinstance(error, FileNotFoundError):
                continue
            raise UsageError(f"cannot read folder {path!r}: {error.strerror}") from error
        listings[inside] = listing
        folders += [os.path.join(inside, name) for name in listing.folders]
        links += [os.path.join(inside, name) for name in listing.links]
    return listings


def _list(path: str, modified: int) -> Listing:
    files, folders, links = [], [], []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            image = name.lower().endswith(_ENDINGS)
            if not entry.is_symlink():
                if entry.is_dir():
                    folders.append(name)
                elif image:
                    files.append(name)
            elif entry.is_dir() or not (image or os.path.exists(entry.path)):
                links.append(name)  # to a folder, or to nothing yet
            elif image:
                files.append(name)
    return Listing(modified, FileNames.of(files), sorted(folders), sorted(links))


def _sorted(listings: dict[str, Listing]) -> Tree:
    keys = [
        os.path.join(inside, name) for inside, listing in listings.items() for name in _each(listing.files)
    ]
    keys.sort()
    folders = sorted(inside for inside, listing in listings.items() if len(listing.files))
    number = {inside: i for i, inside in enumerate(folders)}
    folder_of = np.fromiter((number[key.rpartition(os.sep)[0]] for key in keys), np.int32, len(keys))
    return Tree(FileNames.of(keys), folders, folder_of, hashes(keys))


def _each(names: FileNames) -> Iterable[str]:
    return (names[i] for i in range(len(names)))
