"""The comparison of several encoders as printed tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from selfsup.evaluation.results.columns import print_columns
from selfsup.text import shown


def print_comparison(found: Mapping[str, Any], titles: Mapping[str, str], console: Console) -> None:
    """Print each encoder's difference from the best, the pairs within noise, and rank correlations.

    Args:
        found: of :func:`selfsup.evaluation.compare`.
        titles: of the scores with a column, by name.
        console: to print on.
    """
    if found["by"] is None:
        console.print(Text("* The encoders are not ranked: no score is common to all of them."))
        return
    differing = {entry["score"] for entry in found["differences"]}
    if columns := {name: title for name, title in titles.items() if name in differing}:
        _print_differences(found, columns, console)
    if found["clid"]:
        clid = sorted(found["clid"].items(), key=lambda item: -item[1])
        each = ", ".join(f"{shown(name)} {score:+.2f}" for name, score in clid)
        console.print(Text(f"CLID, standardised over these encoders and meaningful only among them: {each}."))
    if found["rank_correlation"]:
        _print_correlations(found, titles, console)


def _print_differences(found: Mapping[str, Any], titles: Mapping[str, str], console: Console) -> None:
    best, *others = found["ranking"]
    by = titles.get(found["by"], found["by"])
    entries = {(entry["score"], entry["first"], entry["second"]): entry for entry in found["differences"]}
    cells = {
        title: [_gap(entries.get((name, best, other))) for other in others] for name, title in titles.items()
    }
    print_columns(f"How far the others are from {best}, the best by {by}", others, cells, console)
    paired = dict.fromkeys(e["paired_over"] for e in found["differences"] if e["score"] in titles)
    console.print(
        Text(
            "Difference in points of accuracy, [95 % interval of each by itself], paired over the same "
            f"{' or '.join(paired)}; ~ is within noise."
        )
    )
    for name, title in titles.items():
        close = [
            f"{shown(entry['first'])} and {shown(entry['second'])}"
            for entry in found["differences"]
            if entry["score"] == name and entry["within_noise"]
        ]
        if close:
            console.print(Text(f"* {title} does not separate {', '.join(close)}."))


def _gap(entry: Mapping[str, Any] | None) -> Text:
    """The second of a pair, seen from the first."""
    if entry is None:
        return Text("-")
    low, high = (-100 * end for end in reversed(entry["interval"]))
    text = Text(f"{0 - 100 * entry['difference']:+.1f}")
    text.append(f" [{low:+.1f}, {high:+.1f}]", style="dim")
    return text.append(" ~" if entry["within_noise"] else "")


def _print_correlations(found: Mapping[str, Any], titles: Mapping[str, str], console: Console) -> None:
    count = len(found["ranking"])
    title = f"Rank correlation (Spearman) of label-free and labelled scores over {count} encoders"
    rows = found["rank_correlation"]
    cells = {
        titles[name]: [Text("-" if row[name] is None else f"{row[name]:+.2f}") for row in rows.values()]
        for name in titles
        if name in next(iter(rows.values()))
    }
    print_columns(title, [{**titles, "clid": "CLID"}.get(name, name) for name in rows], cells, console)
