"""The image files below a folder, found quickly again by an index that notices changes."""

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfsup.data.holdout import hashes
from selfsup.data.readers.kinds import ending_of, is_image_name
from selfsup.data.readers.names import FileNames
from selfsup.data.readers.tree_index import Listing, Tree, index_file, load_index, save_index
from selfsup.errors import UsageError

KEEP = 10_000  # files above which an index is kept; fewer are listed about as fast as an index is read
_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ESTALE)
SETTLED = 2 * 10**9  # nanoseconds after which another change surely gives a folder another time

# Folders of operating systems and storage boxes: thumbnails, deleted files, backups.
SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "lost+found"),
    *("system volume information", "__pycache__"),
}


def find_images(top: Path, endings: Iterable[str] = ()) -> Tree:
    """The image files below ``top``, at any depth, sorted by path; hidden files and folders are left out.

    Links are followed. A folder that can be reached in several ways is visited once, by its own path rather
    than by a link where it has both, so that a link to a folder above does no harm. Links that lead nowhere,
    or to themselves, are kept if they are named like an image, so that reading them reports them.

    A folder is listed again only if its modification time differs from that in the index, which is kept in
    the user's cache folder for trees of 10,000 files or more. So the next start costs one ``stat`` a folder.

    Args:
        endings: further ones that count as images', beside `image_endings`; "" stands for files without one.

    Raises:
        UsageError: if a folder cannot be read.
    """
    more = frozenset(endings)
    file = index_file(top, more)
    known, tree = load_index(file)
    listings, broken = _visit(top, known, more)
    same = listings.keys() == known.keys() and all(listings[key] is known[key] for key in known)
    if tree is None or not same:
        tree = _sorted(listings)
        if len(tree.names) >= KEEP:
            save_index(top, file, listings, tree)
    others = {inside: listing.others for inside, listing in listings.items() if listing.others}
    return replace(tree, others=others, broken=broken)


def _visit(
    top: Path, known: dict[str, Listing], more: frozenset[str]
) -> tuple[dict[str, Listing], list[str]]:
    """The listing of every folder by its path relative to ``top``, that in ``known`` or a new one; and the
    links that lead nowhere."""
    listings: dict[str, Listing] = {}
    broken: list[str] = []
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
                listing = _list(path, about.st_mtime_ns if settled else 0, more)
        except OSError as error:
            if linked and error.errno in _NOWHERE:
                broken.append(inside)
                continue
            raise UsageError(f"cannot read folder {path!r}: {error.strerror}") from error
        listings[inside] = listing
        folders += [os.path.join(inside, name) for name in listing.folders]
        links += [os.path.join(inside, name) for name in listing.links]
    return listings, broken


def _list(path: str, modified: int, more: frozenset[str]) -> Listing:
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    others: dict[str, tuple[int, str, str]] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            linked = entry.is_symlink()
            image = is_image_name(name) or (bool(more) and ending_of(name) in more)
            if _is_folder(entry):
                if name.lower() not in SYSTEM:
                    (links if linked else folders).append(name)
            elif image:
                files.append(name)
            elif linked and not os.path.exists(entry.path):
                links.append(name)  # a link to nothing yet
            else:
                ending = ending_of(name)
                count, first, last = others.get(ending, (0, name, name))
                others[ending] = (count + 1, min(first, name), max(last, name))
    counted = [f"{count} {ending}/{first}/{last}" for ending, (count, first, last) in sorted(others.items())]
    return Listing(modified, FileNames.of(files), sorted(folders), sorted(links), counted)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or through what may not be read
        return False


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
