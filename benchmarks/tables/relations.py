"""The table of what knowing who belongs together is worth, from ``benchmarks/results/relations.jsonl``."""

from statistics import fmean
from typing import Any

from benchmarks.rows import Row, machine, read

TITLES = {
    "none": "views alone",
    "tenth": "a tenth of the labels",
    "pairs": "2,000 random pairs",
    "all": "all labels",
    "supcon": "`method=supcon`",
}
SCORES = {"knn": "kNN", "linear": "linear"}


def worth() -> str:
    """A row a variant: its accuracies, and its gain over views alone, with the interval of each seed."""
    rows = read("relations")
    if not rows:
        return "Not measured yet."
    heads = [f"{title} (%)" for title in SCORES.values()]
    heads += [f"{title}: gain over views alone" for title in SCORES.values()]
    lines = [f"| belongs together by | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for variant, title in TITLES.items():
        found = [row for row in rows if _named(row, variant)]
        if found:
            cells = [f"{100 * fmean(_score(row, variant, key) for row in found):.1f}" for key in SCORES]
            cells += ["; ".join(_gain(row, variant, key) for row in found) for key in SCORES]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    note = "Gains in points with 95 % intervals paired over the test images, one a seed."
    return "\n".join([*lines, "", f"{note} {machine(rows[-1])}."])


def _named(row: Row, variant: str) -> dict[str, Any] | None:
    name = f"{variant}-{row['seed']}"
    return next((each for each in row["results"]["rows"] if each["name"] == name), None)


def _score(row: Row, variant: str, key: str) -> float:
    judged = _named(row, variant)
    assert judged is not None
    return float(judged["scores"][key]["value"])


def _gain(row: Row, variant: str, key: str) -> str:
    pair = {f"{variant}-{row['seed']}", f"none-{row['seed']}"}
    for each in row["results"]["comparison"]["differences"]:
        if each["score"] == key and {each["first"], each["second"]} == pair:
            sign = 100 if each["first"].startswith(variant) else -100
            low, high = sorted(sign * end for end in each["interval"])
            return f"{sign * each['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return ""
