"""The table of auxiliary losses beside SimCLR, from ``benchmarks/results/auxiliary.jsonl``."""

import math
from statistics import fmean

from benchmarks.rows import Row, machine, read
from selfsup.evaluation import student

SCORES = {"knn": "kNN", "rotation": "rotation"}
BASE = "simclr"


def table() -> str:
    """A row a variant: its mean accuracies, and their differences from SimCLR alone, paired by seed."""
    rows = read("auxiliary")
    if not rows:
        return "Not measured yet."
    longest = max(row["epochs"] for row in rows)
    by: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row["epochs"] == longest:
            by.setdefault(row["variant"], {})[row["seed"]] = row
    head = [f"{title} (%)" for title in SCORES.values()]
    head += [f"{title} against SimCLR" for title in SCORES.values()]
    lines = [
        f"| | typed beside | seeds | {' | '.join(head)} |",
        f"| --- | --- | ---: |{' ---: |' * len(head)}",
    ]
    for variant, seeds in by.items():
        cells = [f"{100 * fmean(_value(row, name) for row in seeds.values()):.1f}" for name in SCORES]
        cells += ["" if variant == BASE else _gain(seeds, by.get(BASE, {}), name) for name in SCORES]
        typed = next(iter(seeds.values()))["typed"]
        first = [variant, f"`{typed}`" if typed else "", str(len(seeds))]
        lines.append(f"| {' | '.join([*first, *cells])} |")
    note = (
        f"Means over seeds, {longest} epochs. Differences are in points with 95 % intervals: Student's over "
        "seeds; of one seed, over the test images as if each encoder had its own, which is too wide."
    )
    return "\n".join([*lines, "", f"{note} {machine(rows[-1])}."])


def _value(row: Row, name: str) -> float:
    return float(row["scores"][name]["value"])


def _gain(own: dict[int, Row], other: dict[int, Row], name: str) -> str:
    """The difference with its interval: over seeds, or of one seed over the test images of both."""
    seeds = [seed for seed in own if seed in other]
    gains = [100 * (_value(own[seed], name) - _value(other[seed], name)) for seed in seeds]
    if not gains:
        return ""
    if len(gains) == 1:
        half = math.hypot(*(_half(rows[seeds[0]], name) for rows in (own, other)))
        low, high = gains[0] - half, gains[0] + half
    else:
        low, high = student(gains)
    return f"{fmean(gains):+.1f} [{low:+.1f}, {high:+.1f}]"


def _half(row: Row, name: str) -> float:
    low, high = row["scores"][name]["interval"]
    return 50.0 * (high - low)
