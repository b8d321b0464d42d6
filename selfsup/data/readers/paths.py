"""Messages about a missing path, and about files that two splits share."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from selfsup.data.readers.roles import role
from selfsup.errors import UsageError


def did_you_mean(path: Path) -> str:
    """A clause with the name closest to that of a missing file or folder, or another cause; may be empty.

    >>> did_you_mean(Path("no-such-folder/images"))
    "; nor is there a folder 'no-such-folder'"
    """
    if path.is_dir():
        return "; it is a folder"  # where a file is wanted
    try:
        siblings = sorted(os.listdir(path.parent))
    except OSError:
        return f"; nor is there a folder {str(path.parent)!r}"
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""


def require_one_split(top: Path, files: Iterable[Path], setting: str) -> None:
    """Raise a UsageError if names say that a folder holds the files of several splits."""
    found: dict[str, str] = {}
    for file in files:
        inside = file.relative_to(top)
        for depth, part in enumerate((*inside.parts[:-1], inside.stem)):
            if (meaning := role(part)) is not None:
                below = Path(*inside.parts[:depth])
                stem = re.match(r"[\W\d_]*[^\W\d_]*", part)
                last = f"{stem[0] if stem else ''}*{inside.suffix}"
                found.setdefault(meaning, str(below / (part if depth < len(inside.parts) - 1 else last)))
                break
    order = [meaning for meaning in ("train", "validation", "test") if meaning in found]
    if len(order) > 1:
        raise UsageError(
            f"folder '{top}' holds the files of several splits ({', '.join(order)}); name those of one, "
            f"such as {setting}='{top}/{found[order[0]]}'"
        )


def are_the_same(train: Iterable[str | Path], test: Iterable[str | Path]) -> bool:
    """Whether two splits are the same files, so that each may take a slice.

    Raises:
        UsageError: if they share some files and not all.
    """
    learned, held = (set(map(os.path.realpath, files)) for files in (train, test))
    if learned & held and learned != held:
        raise UsageError(f"{min(learned & held)!r} is in data.train and in data.test, which must be apart")
    return learned == held


def existing_folder(root: str | None, data: str = "folder") -> Path:
    """``root`` as a path, if it is a readable folder; otherwise a UsageError."""
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
