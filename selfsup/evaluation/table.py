"""The results as a table that a person reads."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

HIDDEN = ("rankme-centred",)
TITLES = {"knn": "kNN", "rankme": "RankMe"}
FILE_WIDTH = 120


def print_table(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print rows of scores: accuracies in percent with 95 % intervals, what they mean, and what to mind.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`.
        console: default standard output; where that is no terminal, the text is plain.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=FILE_WIDTH, no_color=True, highlight=False)
    protocols = [name for name in results["rows"][0]["scores"] if name not in HIDDEN]
    table = Table(box=SIMPLE, title=_title(results), title_justify="left", title_style="bold")
    table.add_column("")
    for name in protocols:
        table.add_column(TITLES.get(name, name), justify="right", no_wrap=True)
    notes: dict[str, list[str]] = {}
    for row in results["rows"]:
        cells = []
        for name in protocols:
            score = row["scores"][name]
            cells.append(_cell(score, row["dim"]))
            for note in filter(None, [score["reason"], *score["flags"]]):
                notes.setdefault(note, []).append(f"{row['name']} {TITLES.get(name, name)}")
        table.add_row(row["name"], *cells)
    console.print(table)
    accuracies = "Accuracy on the test split in %, [95 % interval]" if results["labels"] else "No labels"
    console.print(Text(f"{accuracies}; RankMe: effective rank of the width."))
    for note, places in notes.items():
        console.print(Text(f"* {', '.join(places)}: {note}."))
    for split, names in results["skipped"].items():
        for name, reason in names[:10]:
            console.print(Text(f"* skipped {split} image '{name}': {reason}."))
        if len(names) > 10:
            console.print(Text(f"* and {len(names) - 10} more {split} images skipped."))


def _title(results: Mapping[str, Any]) -> str:
    classes = f", {results['classes']} classes" if results["labels"] else ""
    return (
        f"{results['data']}: {results['n_train']} training and {results['n_test']} test images{classes}; "
        f"encoder {results['encoder']}"
    )


def _cell(score: Mapping[str, Any], width: int) -> Text:
    if score["value"] is None:
        return Text("- *")
    star = " *" if score["flags"] else ""
    if score["protocol"].startswith("rankme"):
        return Text(f"{score['value']:.1f} of {width}{star}")
    text = Text(f"{100 * score['value']:.1f}")
    if score["interval"]:
        low, high = score["interval"]
        text.append(f" [{100 * low:.1f}, {100 * high:.1f}]", style="dim")
    return text.append(star)
