"""Pages about a choice of images: what was kept and dropped, and a contact sheet of those to label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from selfsup import __version__
from selfsup.curation.choice import Group
from selfsup.data import Source, UnreadableImage
from selfsup.report.pictures import false_colours, figure, visible
from selfsup.text import printable, shown

_PAGE = Path(__file__).parent / "page"
GROUPS, EXAMPLES = 24, 8  # shown, and pictures of each side of a group
SIDE, LARGE = 96, 224  # pixels of the longer side of a picture, and of one to label

TITLES = {
    "copies": "Without copies",
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
        examples = {side: _spread(rows, EXAMPLES) for side, rows in sides.items()}
        pictures = {side: _pictures(source, rows, SIDE) for side, rows in examples.items()}
        rows.append({"title": group.title, **pictures})
    more = len(groups) - len(rows)
    return _render(
        "kept.html",
        title=TITLES[mode],
        lines=list(lines),
        groups=rows,
        more=f"{more} more groups are not shown" if more > 0 else "",
        false_colours=false_colours(source.channels),
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
    return _render(
        "sheet.html",
        title=f"{len(rows)} images to label",
        table=table,
        lines=list(lines),
        pictures=_pictures(source, rows, LARGE),
        wanting=clusters,
        false_colours=false_colours(source.channels),
    )


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = (_PAGE / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(version=__version__, style=style, **printable(values))


def _spread(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Some of the rows from all over them, the first among them."""
    return rows if len(rows) <= count else rows[torch.arange(count) * len(rows) // count]


def _pictures(source: Source, rows: torch.Tensor, side: int) -> list[dict[str, Any]]:
    """Each image with its longer side of at most ``side`` pixels; one that has become unreadable has none."""
    found = []
    for i in rows.tolist():
        name = shown("/".join(Path(source.name(i)).parts[-2:]))
        try:
            image = visible(source[i])
        except UnreadableImage as error:
            found.append({"src": "", "alt": str(error), "side": 0, "name": name})
            continue
        height, width = image.shape[-2:]
        shrink = min(1.0, side / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        if size != (height, width):
            image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        found.append(figure(image, name, name=name))
    return found
