"""What a search without labels found, and what that is worth, from ``benchmarks/results/tune.jsonl``."""

from statistics import fmean
from typing import Any

from benchmarks.quality.worth import bonett_wright
from benchmarks.rows import Row, machine, read

SETS = {"digits": "digits", "cifar10-cpu": "CIFAR-10, 10,000 images"}
JUDGED = {"knn": "kNN", "linear": "linear"}


def table() -> str:
    """A row a set of images: trials, what the score follows, the winner beside the settings as they are."""
    rows = read("tune")
    if not rows:
        return "Not measured yet."
    heads = ["trials", "core minutes", *(f"Spearman of {name}" for name in JUDGED.values())]
    heads += ["linear, as they are (%)", "found (%)", "gain of each seed"]
    lines = [f"| images | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for row in rows:
        count = len(row["trials"])
        cells = [str(count + row["lost"]), f"{row['minutes']:.0f}"]
        cells += [_correlation(row["spearman"][key], count) for key in JUDGED]
        cells += [f"{100 * _mean(row, name):.1f}" for name in ("as-they-are", "found")]
        cells.append("; ".join(_gain(each) for each in row["retrained"]))
        lines.append(f"| {SETS[row['suite']]} | {' | '.join(cells)} |")
    note = (
        "Spearman's correlation of the score with each accuracy over the trials, 95 % intervals; gains in "
        "linear accuracy, in points, with 95 % intervals paired over the test images"
    )
    return "\n".join([*lines, "", f"{note}. {machine(rows[-1])}."])


def _correlation(rho: float | None, count: int) -> str:
    if rho is None:
        return "–"
    low, high = bonett_wright(rho, count)
    return f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]"


def _mean(row: Row, name: str) -> float:
    return fmean(each["values"][name]["linear"] for each in row["retrained"])


def _gain(retrained: dict[str, Any]) -> str:
    """Found less as they are."""
    for each in retrained["differences"]:
        if each["score"] == "linear":
            sign = 100 if each["first"].startswith("found") else -100
            low, high = sorted(sign * end for end in each["interval"])
            return f"{sign * each['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return "–"
