"""The results as a table that a person reads."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from selfsup.evaluation.comparison_table import print_comparison, table_under
from selfsup.terminal import make_console
from selfsup.text import printable

FILE_WIDTH = 120


def print_table(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print rows of scores: accuracies in percent with 95 % intervals, what they mean, and what to mind.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`.
        console: default standard output; where that is no terminal, the text is plain.
    """
    console = console or make_console()
    if not console.is_terminal:
        console = make_console(file=console.file, width=FILE_WIDTH, no_color=True)
    results = printable(results)
    scores = {name: score for row in results["rows"] for name, score in row["scores"].items()}
    titles = {name: score["title"] or name for name, score in scores.items() if score["shown"]}
    table = table_under(_title(results), console)
    for title in titles.values():
        table.add_column(title, justify="right", no_wrap=True)
    notes: dict[str, list[str]] = {}
    for row in _ranked(results):
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
    if "comparison" in results:
        print_comparison(results["comparison"], titles, console)
    for split, names in results["skipped"].items():
        for name, reason in names[:10]:
            console.print(Text(f"* skipped {split} image '{name}': {reason}."))
        if len(names) > 10:
            console.print(Text(f"* and {len(names) - 10} more {split} images skipped."))


def _ranked(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Encoders from best to worst, if several were compared, then the controls."""
    order = results.get("comparison", {}).get("ranking", [])
    place = {name: number for number, name in enumerate(order)}
    return sorted(results["rows"], key=lambda row: place.get(row["name"], len(order)))


def _title(results: Mapping[str, Any]) -> str:
    classes = f", {results['classes']} classes" if results["labels"] else ""
    several = "comparison" in results
    judged = (
        f"{len(results['comparison']['ranking'])} encoders" if several else f"encoder {results['encoder']}"
    )
    return (
        f"{results['data']}: {results['n_train']} training and {results['n_test']} test images{classes}; "
        f"{judged}"
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
