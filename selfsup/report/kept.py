"""Pages about a choice of images: what was kept and dropped, and sheets of those to label and of pairs."""

from collections.abc import Sequence
from typing import Any

import torch

from selfsup.curation.choice import Group
from selfsup.data import Source, UnreadableImage
from selfsup.evaluation.features.extract import evenly
from selfsup.report.pictures import caption, false_colours, figure, thumbnail, visible
from selfsup.report.templates import rendered
from selfsup.text import printable, shown

GROUPS, EXAMPLES = 24, 8  # shown, and pictures of each side of a group
SIDE, PAIRED, LARGE = 96, 160, 224  # pixels of a picture's longer side, of one in a pair, of one to label

TITLES = {
    "copies": "Without copies",
    "similar": "One of each group of similar images",
    "balanced": "A balanced subset",
    "towards": "The images nearest to the target",
    "scores": "Kept by a score",
}


def kept_page(mode: str, lines: Sequence[str], groups: Sequence[Group], source: Source) -> str:
    """The page about a choice.

    Args:
        mode: of the command.
        lines: what was decided.
        groups: with positions in ``source``; the first 24 are shown.
        source: the images that there were to choose from.
    """
    rows = []
    for group in groups[:GROUPS]:
        sides = {"kept": group.kept, "dropped": group.dropped}
        examples = {side: rows[evenly(len(rows), EXAMPLES)] for side, rows in sides.items()}
        pictures = {side: _pictures(source, rows, SIDE) for side, rows in examples.items()}
        rows.append({"title": group.title, **pictures})
    more = len(groups) - len(rows)
    return rendered(
        "kept.html",
        **printable(
            {
                "title": TITLES[mode],
                "lines": list(lines),
                "groups": rows,
                "more": f"{more} more groups are not shown" if more > 0 else "",
                "false_colours": false_colours(source.channels),
            }
        ),
    )


def sheet_page(
    table: str, lines: Sequence[str], rows: torch.Tensor, wanting: Sequence[dict[str, Any]], source: Source
) -> str:
    """The contact sheet of images to label, numbered as the rows of the table are.

    Args:
        table: the name of the table to fill in.
        lines: what was decided.
        rows: int64, positions in ``source``, in the table's order.
        wanting: clusters that want labels: ``title``, and ``rows``, positions of some of its images.
        source: the images.
    """
    clusters = [
        {"title": each["title"], "pictures": _pictures(source, each["rows"], SIDE)} for each in wanting
    ]
    return rendered(
        "sheet.html",
        **printable(
            {
                "title": f"{len(rows)} images to label",
                "table": table,
                "lines": list(lines),
                "pictures": _pictures(source, rows, LARGE),
                "wanting": clusters,
                "false_colours": false_colours(source.channels),
            }
        ),
    )


def pairs_page(table: str, lines: Sequence[str], ends: torch.Tensor, source: Source) -> str:
    """The sheet of pairs to answer, numbered as the rows of the table are.

    Args:
        table: the name of the table to fill in.
        lines: what was decided.
        ends: int64 ``(P, 2)``, positions in ``source``, in the table's order.
        source: the images.
    """
    images = ends.unique()
    pictures = dict(zip(images.tolist(), _pictures(source, images, PAIRED), strict=True))
    return rendered(
        "pairs.html",
        **printable(
            {
                "title": f"{len(ends)} pairs to answer",
                "table": table,
                "lines": list(lines),
                "pairs": [[pictures[a], pictures[b]] for a, b in ends.tolist()],
                "false_colours": false_colours(source.channels),
            }
        ),
    )


def _pictures(source: Source, rows: torch.Tensor, side: int) -> list[dict[str, Any]]:
    """Each image with its longer side of at most ``side`` pixels; one that has become unreadable has none."""
    found = []
    for i in rows.tolist():
        name = caption(source.name(i))
        try:
            found.append(figure(thumbnail(visible(source[i]), side), name, name=name))
        except UnreadableImage as error:
            found.append({"src": "", "alt": shown(str(error)), "side": 0, "name": name})
    return found
