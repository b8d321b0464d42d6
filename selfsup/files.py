"""Files that are there whole or not at all, whatever happens while they are written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


@contextmanager
def written_whole(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write into, which takes the name ``path`` once all of it is on the disk.

    Until then, and if anything fails, whatever was at ``path`` stays as it was.

    Raises:
        FileExistsError: there is such a file and ``overwrite`` is false.
        OSError: the disk is full, or refuses otherwise.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, path)
        else:
            os.link(part, path)  # unlike a rename, it refuses to replace
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where ``path`` is while it is written: hidden, and this process's own, so that two do not meet."""
    return path.with_name(f".{path.name}.{os.getpid()}{_PART}")


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write ``text`` as UTF-8, whole or not at all (:func:`written_whole`)."""
    with written_whole(path, overwrite=overwrite) as file:
        file.write(text.encode())


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed while writing into ``folder`` left half written."""
    for part in folder.glob(f".*{_PART}"):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder; a renamed file is lost with the power before that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
