"""Results on several sets of images as printed tables: one for each score, with a column for each set."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from selfsup.evaluation.results.table import FILE_WIDTH, print_scores
from selfsup.terminal import make_console
from selfsup.text import printable, shown

_NUMBER: dict[str, Any] = {"accuracy": False, "interval": None, "top": None, "flags": []}


def print_across(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a table for each score, and below them why some cells are empty.

    Args:
        results: ``sets``, by name those of :func:`selfsup.evaluation.evaluate`, each with the encoders that
            it ``refused``; ``across``, of :func:`selfsup.evaluation.results.across.across`; ``minutes`` of
            training by encoder.
        console: default standard output; plain text if that is not a terminal.
    """
    console = console or make_console()
    if not console.is_terminal:
        console = make_console(file=console.file, width=FILE_WIDTH, no_color=True)
    results = printable(results)
    rows = _names(results)
    notes: dict[str, list[str]] = {}
    for name, title in _titles(results).items():
        lines = [
            {"name": row, "scores": {**_cells(results, name, row, notes), **_means(results, name, row)}}
            for row in rows
        ]
        print_scores(f"{title} on {len(results['sets'])} sets", lines, console)
    if results["across"]:
        console.print(
            Text(
                "Accuracy on the test split in %, [95 % interval]; gain: mean of "
                "(score - untrained) / (best - untrained); rank: mean of 1 + the encoders that are surely "
                "better by their paired interval; minutes: of training."
            )
        )
    for found in results["across"].values():
        for name, row in found["rows"].items():
            for what in ("gain", "rank"):
                if _partly(row, what, results):
                    over = ", ".join(map(shown, row[f"{what}_sets"]))
                    notes.setdefault(f"the {what} is of {over}", []).append(f"{shown(name)} {found['title']}")
        for name in found["flat"]:
            note = "no encoder is surely better than an untrained one, so there are no gains"
            notes.setdefault(note, []).append(f"{shown(name)} {found['title']}")
    for note, places in notes.items():
        console.print(Text(f"* {', '.join(dict.fromkeys(places))}: {note}."))


def _names(results: Mapping[str, Any]) -> list[str]:
    """Names of the rows: encoders as they were given, then controls."""
    judged = [row for found in results["sets"].values() for row in found["rows"]]
    controls = dict.fromkeys(row["name"] for row in judged if row["role"] != "encoder")
    return [*results["minutes"], *controls]


def _titles(results: Mapping[str, Any]) -> dict[str, str]:
    """The accuracies, or, if there are none, the other scores: each with its title."""
    if results["across"]:
        return {name: found["title"] for name, found in results["across"].items()}
    scores = [row["scores"] for found in results["sets"].values() for row in found["rows"]]
    return {name: score["title"] or name for one in scores for name, score in one.items() if score["shown"]}


def _cells(
    results: Mapping[str, Any], name: str, row: str, notes: dict[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """The row's score on each set, or why it has none; ``notes`` gets the reasons in full."""
    cells: dict[str, dict[str, Any]] = {}
    for called, found in results["sets"].items():
        rows = {each["name"]: each for each in found["rows"]}
        score = rows[row]["scores"].get(name) if row in rows else None
        why = found["refused"].get(row)
        if score is None and why is None and row in rows and not found["labels"]:
            why = {"short": "no labels", "reason": "the images have no labels; the results have other scores"}
        if why is not None:
            score = {"value": None, "short": f"{why['short']} *"}
            notes.setdefault(why["reason"], []).append(
                f"{shown(row)} on {shown(called)}" if found["rows"] and row not in rows else shown(called)
            )
        elif score is not None:
            for note in filter(None, [score["reason"], *score["flags"]]):
                notes.setdefault(note, []).append(f"{shown(row)} on {shown(called)}")
        cells[called] = score or {"value": None, "short": "-"}
    return cells


def _means(results: Mapping[str, Any], name: str, row: str) -> dict[str, dict[str, Any]]:
    """Gain, rank and minutes, in the columns of a score with labels."""
    if name not in results["across"]:
        return {}
    found = results["across"][name]["rows"].get(row, {})
    flags = {what: ["partly"] if _partly(found, what, results) else [] for what in ("gain", "rank")}
    means = {
        "gain": {"value": found.get("gain"), **_NUMBER, "flags": flags["gain"]},
        "rank": {"value": found.get("rank"), **_NUMBER, "flags": flags["rank"]},
        "minutes": {"value": results["minutes"].get(row), **_NUMBER},
    }
    return {key: each if each["value"] is not None else {**each, "short": "-"} for key, each in means.items()}


def _partly(row: Mapping[str, Any], what: str, results: Mapping[str, Any]) -> bool:
    """Whether a mean is over some of the sets."""
    return 0 < len(row.get(f"{what}_sets", ())) < len(results["sets"])
