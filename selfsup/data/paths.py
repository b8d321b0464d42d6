"""What to say about a path that is not there."""

import difflib
import os
from pathlib import Path


def did_you_mean(path: Path) -> str:
    """A clause naming the sibling closest to a missing file or folder, or what else is wrong; may be empty.

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
