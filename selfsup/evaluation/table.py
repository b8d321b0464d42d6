"""The results as a table that a person reads."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    scores = {name: score for row in results["rows"] for name, score in row["scores"].items()}
    titles = {name: score["title"] or name for name, score in scores.items() if score["shown"]}
    table = Table(box=SIMPLE, title=_title(results), title_justify="left", title_style="bold")
    table.add_column("")
    for title in titles.values():
        table.add_column(title, justify="right", no_wrap=True)
    notes: dict[str, list[str]] = {}
    for row in results["rows"]:
        cells = []
        for name, title in titles.items():
            if name not in row["scores"]:
                cells.append(Text("-"))
                continue
            score = row["scores"][name]
            cells.append(_cell(score))
            for note in filter(None, [score["reason"], *score["flags"]]):
                notes.setdefault(note, []).append(f"{row['name']} {title}")
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


def _cell(score: Mapping[str, Any]) -> Text:
    if score["value"] is None:
        return Text("- *")
    factor = 100 if score["accuracy"] else 1
    text = Text(f"{factor * score['value']:.1f}" if score["accuracy"] else f"{score['value']:.3g}")
    if score["top"]:
        text.append(f" of {score['top']:g}")
    if score["interval"]:
        low, high = score["interval"]
        text.append(f" [{factor * low:.1f}, {factor * high:.1f}]", style="dim")
    return text.append(" *" if score["flags"] else "")
