"""The results as a printed table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from selfsup.evaluation.results.columns import print_columns
from selfsup.evaluation.results.comparison_table import print_comparison
from selfsup.evaluation.results.verdict import control_row, encoder_rows, judged, sign
from selfsup.terminal import make_console, say
from selfsup.text import printable, shown

FILE_WIDTH = 120


def print_table(
    results: Mapping[str, Any], console: Console | None = None, warned: Iterable[str] = ()
) -> None:
    """Print a verdict on each encoder, then scores, their meaning, and flags.

    Accuracies are in percent, with 95 % intervals.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`.
        console: default standard output; plain text if that is not a terminal.
        warned: names of the failures that the collapse guard saw in the encoder's run.
    """
    console = console or make_console()
    if not console.is_terminal:
        console = make_console(file=console.file, width=FILE_WIDTH, no_color=True)
    results = printable(results)
    _print_verdicts(results, list(warned), console)
    scores = {name: score for row in results["rows"] for name, score in row["scores"].items()}
    titles = {name: score["title"] or name for name, score in scores.items() if score["shown"]}
    rows = _ranked(results)
    cells = {title: [_cell(row["scores"].get(name)) for row in rows] for name, title in titles.items()}
    print_columns(_title(results), [row["name"] for row in rows], cells, console)
    notes: dict[str, list[str]] = {}
    for row in rows:
        if used := row.get("from_labels"):
            notes.setdefault(f"learned from labels ({', '.join(used)})", []).append(shown(row["name"]))
    for row in rows:
        for name in filter(row["scores"].__contains__, titles):
            score = row["scores"][name]
            for note in filter(None, [score["reason"], *score["flags"]]):
                notes.setdefault(note, []).append(f"{shown(row['name'])} {titles[name]}")
    accuracies = "Accuracy on the test split in %, [95 % interval]" if results["labels"] else "No labels"
    console.print(Text(f"{accuracies}; RankMe: effective rank of the width."))
    for note, places in notes.items():
        console.print(Text(f"* {', '.join(places)}: {note}."))
    if "comparison" in results:
        print_comparison(results["comparison"], titles, console)
    for split, names in results["skipped"].items():
        for name, reason in names[:10]:
            console.print(Text(f"* skipped {split} image '{shown(name)}': {reason}."))
        if len(names) > 10:
            console.print(Text(f"* and {len(names) - 10} more {split} images skipped."))


def print_scores(title: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print rows with a ``name`` and ``scores``, records by the heading of their column."""
    headings = dict.fromkeys(heading for row in rows for heading in row["scores"])
    cells = {shown(heading): [_cell(row["scores"].get(heading)) for row in rows] for heading in headings}
    print_columns(title, [row["name"] for row in rows], cells, console)


def _ranked(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Encoders from best to worst, if several were compared, then the controls."""
    order = results.get("comparison", {}).get("ranking", [])
    place = {name: number for number, name in enumerate(order)}
    return sorted(results["rows"], key=lambda row: place.get(row["name"], len(order)))


def _title(results: Mapping[str, Any]) -> str:
    classes = f", {results['classes']} classes" if results["labels"] else ""
    if "banks" in results:
        banks = ", ".join(f"{name} of {count}" for name, count in results["banks"].items())
        return f"{results['data']}: {results['n_test']} test images{classes}; banks: {banks} images"
    several = "comparison" in results
    judged = (
        f"{len(results['comparison']['ranking'])} encoders" if several else f"encoder {results['encoder']}"
    )
    return (
        f"{results['data']}: {results['n_train']} training and {results['n_test']} test images{classes}; "
        f"{judged}"
    )


def _print_verdicts(results: Mapping[str, Any], warned: list[str], console: Console) -> None:
    """A sentence per encoder, if there is an untrained one to compare with."""
    rows = encoder_rows(results)
    for row in rows:
        if control_row(results, row, "untrained") or control_row(results, row, "start"):
            found = judged(results, row, warned)
            of = f"{row['name']}: " if len(rows) > 1 else ""
            say(console, f"{sign(found.tone, console.encoding)} {of}{found.headline}.")


def _cell(score: Mapping[str, Any] | None) -> Text:
    if score is None:
        return Text("-")
    if score["value"] is None:
        return Text(score.get("short") or "- *")
    factor = 100 if score["accuracy"] else 1
    text = Text(f"{factor * score['value']:.1f}" if score["accuracy"] else f"{score['value']:.3g}")
    if score["top"]:
        text.append(f" of {score['top']:g}")
    if score["interval"]:
        low, high = score["interval"]
        text.append(f" [{factor * low:.1f}, {factor * high:.1f}]", style="dim")
    return text.append(" *" if score["flags"] else "")
