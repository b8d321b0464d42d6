"""``selfsup curate mode=label``: a table to fill in, and a contact sheet of its images."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selfsup.curation.rounds import Round, next_round, wanting
from selfsup.data.labels import positions, read_labels
from selfsup.data.readers.labels import class_order
from selfsup.files import write_text
from selfsup.report.kept import EXAMPLES, sheet_page
from selfsup.terminal import typed
from selfsup.text import as_text, shown

SHOWN = 8  # clusters that want labels


def label(config: Mapping[str, Any], material: Any, draw: Any, out: Path, page: Path) -> None:
    """Choose the next images to label; writes the table, with the labels so far, and the contact sheet.

    Args:
        config: of the command.
        material: the images and their features (``selfsup.commands.curate.Material``).
        draw: for k-means.
        out, page: the files to write.

    Raises:
        UsageError: the earlier labels are of other images, or too few images are left.
    """
    given = {} if config["labels"] is None else read_labels(Path(config["labels"]).expanduser(), "labels")
    classes = class_order(given.values())
    rows = positions([material.whole], list(given), f"'{shown(config['labels'])}' (labels)")
    place = torch.full((len(material.whole),), -1)
    place[material.pool] = torch.arange(len(material.pool))
    inside = place[rows] >= 0
    labelled = place[rows][inside]
    labels = torch.tensor([classes.index(each) for each in given.values()], dtype=torch.int64)[inside]
    found = next_round(
        material.x, config["count"], config["strategy"], draw, labelled, labels if len(labels) else None
    )
    source = material.source
    names = [as_text(source.name(i)) for i in found.rows.tolist()]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["name", "label"])
    writer.writerows([*((name, "") for name in names), *given.items()])
    lines = [f"chosen by strategy={config['strategy']} in the space of {material.space}"]
    if given:
        lines.append(f"the table also holds the {len(given)} labels so far, below the new rows")
    clusters, without = _clusters(found, labelled)
    lines.append(without)
    html = sheet_page(shown(out), lines, found.rows, clusters, source)
    write_text(out, table.getvalue(), overwrite=False, make_folders=True)
    write_text(page, html, overwrite=False)
    for line in lines:
        print(line)
    print(f"{shown(out)}: {len(names)} images to label; {shown(page)} shows them in the table's order. Then:")
    data = [each for each in config["overrides"] if each.startswith(("data=", "data."))]
    encoder = [f"encoder={config['encoder']}"] if config["encoder"] else []
    print(f"  {typed('evaluate', *(encoder or ['encoder=PATH']), *data, f'data.labels={out}')}")
    more = [f"count={config['count']}", f"labels={out}", "out=label-2.csv"]
    print(f"  {typed('curate', 'mode=label', *encoder, *data, *more)}")


def _clusters(found: Round, labelled: torch.Tensor) -> tuple[list[dict[str, Any]], str]:
    """The clusters that want labels once this round is labelled, for the page, and a sentence about all."""
    known = torch.cat([labelled, found.rows])
    every = wanting(found, known)
    bare = [row for row in every if not row[2]]
    share = sum(row[1] for row in bare) / len(found.assigned)
    said = (
        f"{len(bare)} of {len(every)} clusters, with {100 * share:.0f} % of the images, have no label then"
        if bare
        else f"each of {len(every)} clusters has a label then"
    )
    pictures = []
    for cluster, size, own, margin in every[:SHOWN]:
        members = (found.assigned == cluster).nonzero().flatten()
        if margin is not None:
            members = members[found.margin[members].argsort(stable=True)]  # type: ignore[index]
        told = "" if margin is None else f", mean margin {margin:.2f}"
        count = f"{own} label{'s' if own != 1 else ''}"
        pictures.append(
            {"title": f"cluster {cluster + 1}: {size:,} images, {count}{told}", "rows": members[:EXAMPLES]}
        )
    return pictures, said
