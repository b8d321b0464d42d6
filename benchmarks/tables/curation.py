"""The tables of curation, of labelling and of pairs, from ``benchmarks/results/``."""

from statistics import fmean

from benchmarks.rows import Row, machine, read
from selfsup.evaluation import student

SCORES = {"knn": "kNN", "linear": "linear"}


def halves() -> str:
    """A row a variant: what it learned from, its accuracies, its gains over the whole and a random half."""
    rows = read("curation")
    if not rows:
        return "Not measured yet."
    head = [f"{title} (%)" for title in SCORES.values()]
    for rival in ("whole", "random half"):
        head += [f"{title} against the {rival}" for title in SCORES.values()]
    lines = [f"| copies of each of 250 | learned from | images | distinct | {' | '.join(head)} |"]
    lines += [f"| ---: | --- |{' ---: |' * (len(head) + 2)}"]
    for copies in dict.fromkeys(row["copies"] for row in rows):
        by: dict[str, dict[int, Row]] = {}
        for row in rows:
            if row["copies"] == copies:
                by.setdefault(row["variant"], {})[row["seed"]] = row
        lines += [_learned(copies, variant, by) for variant in by]
    note = "Means over seeds; differences in points, paired by seed, with Student's 95 % interval."
    return "\n".join([*lines, "", f"{note} {machine(rows[-1])}."])


def _learned(copies: int, variant: str, by: dict[str, dict[int, Row]]) -> str:
    seeds = by[variant]
    cells = [f"{fmean(row[key] for row in seeds.values()):,.0f}" for key in ("images", "originals")]
    cells += [f"{100 * fmean(_value(row, name) for row in seeds.values()):.1f}" for name in SCORES]
    for rival in ("whole", "random half"):
        cells += [_gain(seeds, by.get(rival, {}), name) if rival != variant else "" for name in SCORES]
    count = "" if len(seeds) > 1 else ", one seed"
    return f"| {copies} | {variant}{count} | {' | '.join(cells)} |"


def _value(row: Row, name: str) -> float:
    return float(row["scores"][name]["value"])


def _gain(own: dict[int, Row], other: dict[int, Row], name: str) -> str:
    gains = [100 * (_value(own[seed], name) - _value(other[seed], name)) for seed in own if seed in other]
    if not gains:
        return ""
    if len(gains) == 1:
        return f"{gains[0]:+.1f}"
    low, high = student(gains)
    return f"{fmean(gains):+.1f} [{low:+.1f}, {high:+.1f}]"


def labels() -> str:
    """A row a set, number of labels and strategy: accuracy, and its gain over random images."""
    rows = read("labelling")
    if not rows:
        return "Not measured yet."
    lines = ["| data, encoder | labels | chosen by | accuracy (%) | against random (points) | classes hit |"]
    lines += ["| --- | ---: | --- | ---: | ---: | ---: |"]
    for row in sorted(
        rows, key=lambda row: ([each["data"] for each in rows].index(row["data"]), row["labels"])
    ):
        gain = ""
        if row["interval"]:
            low, high = (100 * end for end in row["interval"])
            gain = f"{100 * row['gain']:+.1f} [{low:+.1f}, {high:+.1f}]"
        accuracy = f"{100 * fmean(row['accuracies']):.1f}"
        where = f"{row['data']}, {row['trained']}"
        cells = [
            where,
            row["labels"],
            row["strategy"],
            accuracy,
            gain,
            f"{row['classes']:.1f} of {row['of']}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    note = "Means of 10 draws; differences paired by draw, with Student's 95 % interval."
    return "\n".join([*lines, "", note])


def pairs() -> str:
    """A row a set and way of choosing pairs: what 200 answers buy."""
    rows = read("pairs")
    if not rows:
        return "Not measured yet."
    lines = ["| data, encoder | 200 pairs chosen as | yes | images connected | pairs that follow |"]
    lines += ["| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        means = (f"{fmean(row[key]):,.0f}" for key in ("yes", "images", "follow"))
        lines.append(f"| {row['data']}, {row['trained']} | {row['strategy']} | {' | '.join(means)} |")
    return "\n".join([*lines, "", f"Means of {len(rows[0]['yes'])} seeds. The labels answer."])
