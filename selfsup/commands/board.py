"""``selfsup board [PATH ...]``: encoders from any results on one static page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.files import require_writable, write_text
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Write the page of ``config["paths"]``.

    Args:
        config: of ``configs/board.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before anything is read, if a path or the page does not fit.
    """
    out = Path(str(config["out"])).expanduser()
    if out.suffix != ".html":
        raise UsageError(f"out='{out}' is no page; end its name in .html")
    if os.path.lexists(out):
        raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")
    require_writable(out)

    from selfsup.report.board import board_page, entries

    found = entries([Path(str(each)).expanduser() for each in config["paths"]])
    write_text(out, board_page(found, out.parent), overwrite=False, make_folders=True)
    own = [entry for entry in found if entry.role == "encoder"]
    for entry in own:
        if entry.note:
            print(f"{shown(entry.name)} {entry.note}")
    print(f"{shown(out)}: {'1 encoder' if len(own) == 1 else f'{len(own)} encoders'}")
