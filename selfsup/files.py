"""Our files, written whole or not at all; untrusted files, read as data and not through links."""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from selfsup.errors import UsageError

_PART, _LONGEST = ".part", 255  # bytes of a name
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
LARGEST_TEXT = 64 * 2**20  # bytes of a run's table or JSON file


class NotPlain(OSError):
    """A link, a pipe, a device or a folder in place of a plain file."""


@contextmanager
def written_whole(path: Path, *, overwrite: bool = True, make_folders: bool = False) -> Iterator[BinaryIO]:
    """A file to write into; it gets the name ``path`` once all of it is on the disk.

    Until then, and if anything fails, a file at ``path`` stays as it was. A link at ``path`` is replaced; its
    target is not touched. Missing folders above are made if ``make_folders`` is set: not those of a run,
    which somebody may have removed on purpose.

    Raises:
        FileExistsError: there is such a file and ``overwrite`` is false.
        OSError: the disk is full, or refuses otherwise.
    """
    part = part_of(path)
    if make_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)  # of an earlier process of the same number, or a stranger's link
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, path)
        else:
            _move_to_new(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _move_to_new(part: Path, path: Path) -> None:
    """Rename without replacing what is there."""
    try:
        os.link(part, path)  # unlike a rename, it refuses to replace
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as exFAT: take the name first
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(part, path)


def part_of(path: Path) -> Path:
    """The place of ``path`` while it is written: hidden, and separate for each process."""
    name = os.fsencode(path.name)
    if len(name) > _LONGEST - 32:  # a name may have 255 bytes, and this one is longer
        name = hashlib.sha256(name).hexdigest()[:32].encode()
    return path.with_name(f".{os.fsdecode(name)}.{os.getpid()}{_PART}")


def require_writable(path: Path, remedy: str = "name another place with out=") -> None:
    """Raise a UsageError unless a file can be made at ``path``; called before the work on its content.

    Missing folders above it are not made yet.
    """
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    part = part_of(folder / path.name)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        part.unlink()
        os.stat(path)  # a name that is too long for the file system
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot write '{path}' ({error.strerror or error}); {remedy}") from error


def fitting(name: str, ending: str = "") -> str:
    """A file's name with its ending, shortened if it is too long for a file system.

    >>> len(fitting("x" * 300, ".json"))
    240
    """
    room = _LONGEST - 15 - len(os.fsencode(ending))
    whole = os.fsencode(name)
    return (name if len(whole) <= room else whole[:room].decode("utf-8", "ignore")) + ending


def write_text(path: Path, text: str, *, overwrite: bool = True, make_folders: bool = False) -> None:
    """Write ``text`` as UTF-8, whole or not at all (:func:`written_whole`)."""
    with written_whole(path, overwrite=overwrite, make_folders=make_folders) as file:
        file.write(text.encode())


@contextmanager
def appended(path: Path) -> Iterator[TextIO]:
    """A table to add rows to, made if missing; never through a link.

    Raises:
        NotPlain: ``path`` is a link, a pipe, a device or a folder.
        OSError: the disk is full, or refuses otherwise.
    """
    _require_plain(path, missing_ok=True)
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | _NO_LINK
    with os.fdopen(os.open(path, flags, 0o666), "a", newline="", encoding="utf-8") as file:
        yield file


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The content of a plain file.

    Raises:
        NotPlain: it is a link, a pipe, a device or a folder; these are not opened.
        OSError: it is missing, cannot be read, or is larger than ``largest`` bytes.
    """
    _require_plain(path)
    descriptor = os.open(path, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(f"it is larger than {largest} bytes")
    return content


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The content of a plain file in UTF-8.

    Raises:
        ValueError: it is not UTF-8.
        OSError: as :func:`read_bytes`.
    """
    return read_bytes(path, largest).decode("utf-8")


def read_json(path: Path, largest: int = LARGEST_TEXT) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: it is damaged, nested too deeply, or not an object.
        OSError: as :func:`read_bytes`.
    """
    try:
        content = json.loads(read_text(path, largest))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def _require_plain(path: Path, *, missing_ok: bool = False) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "not a plain file"
        raise NotPlain(f"'{path}' is {kind} and was not opened")


def remove_parts(folder: Path) -> None:
    """Remove partial files in ``folder`` of processes that were killed."""
    for part in folder.glob(f".*{_PART}"):
        shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk; before that, a power cut loses a renamed file."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
