"""The table of runs that begin from weights or distil them, from ``benchmarks/results/transfer.jsonl``."""

from collections.abc import Mapping
from typing import Any

from benchmarks.rows import machine, read
from benchmarks.tables.learned import ACCURACIES
from selfsup.evaluation.results.verdict import percent


def table() -> str:
    """A row a run: its scores, and its gains over what it began with and over the run beside it."""
    rows = read("transfer")
    if not rows:
        return "Not measured yet."
    lines = [
        f"| run | minutes | {' | '.join(ACCURACIES.values())} | than its start | than the run beside it |",
        f"| --- | ---: |{' ---: |' * len(ACCURACIES)} --- | --- |",
    ]
    for row in rows:
        scores = row["results"]["rows"][0]["scores"]
        cells = [percent(scores[key]) for key in ACCURACIES]
        both = [gains(row["results"].get("gains", ())), gains(row.get("against", ()), named=True)]
        lines.append(f"| `{row['name']}` | {row['results']['minutes']:.1f} | {' | '.join([*cells, *both])} |")
    threads = ", ".join(sorted({str(row["device"]["threads"]) for row in rows}))
    lines += [
        "",
        f"{'; '.join(dict.fromkeys(map(machine, rows)))}; threads: {threads}. Differences are in points,",
    ]
    lines += ["with a 95 % interval paired over the same test images or draws."]
    return "\n".join(lines)


def gains(found: list[Mapping[str, Any]] | tuple[()], named: bool = False) -> str:
    said = [
        f"{ACCURACIES[gain['score']]} {100 * gain['difference']:+.1f} "
        f"[{100 * gain['interval'][0]:+.1f}, {100 * gain['interval'][1]:+.1f}]"
        for gain in found
        if gain["score"] in ACCURACIES
    ]
    return (f"`{found[0]['second']}`: " if named and said else "") + ", ".join(said)
