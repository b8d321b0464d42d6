"""Tables of what encoders learned: the golden runs, and the trials behind the settings."""

import math
import statistics
from typing import Any

from scipy import stats

from benchmarks.rows import METHODS, machine, read

ACCURACIES = {"knn": "kNN", "linear": "linear", "5-shot": "5-shot"}
RANKS = {"rankme": "RankMe", "lidar": "LiDAR"}


def golden(suite: str) -> str:
    """The suite's table in Markdown: a row a method, its untrained control in brackets, pixels last,
    by the size of the images if methods differ in it.

    Minutes are those of the fastest seed, with a letter for its machine if there were several. LiDAR is shown
    if each method has it for at least one seed.
    """
    controls: dict[str, str] = {}
    above: dict[str, dict[str, list[str]]] = {}
    rows = read(suite)
    runs = {method: [row for row in rows if row["method"] == method] for method in METHODS}
    judged = all(any("lidar" in each for each in found) for found in runs.values() if found)
    unjudged = judged and any("lidar" not in each for found in runs.values() for each in found)
    columns = ACCURACIES | {key: title for key, title in RANKS.items() if judged or key != "lidar"}
    head = ["", "seeds", *columns.values(), "minutes"]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join([' --- '] + [' ---: '] * (len(head) - 1))}|"]
    places = sorted({machine(each) for found in runs.values() for each in found})
    letters = dict(zip(places, "abcdefgh", strict=False)) if len(places) > 1 else {}
    sizes = {_pixels_a_side(each) for found in runs.values() for each in found}
    measured = sum(bool(found) for found in runs.values())
    for method, title in METHODS.items():
        found = runs[method]
        if not found:
            continue
        seeds = [_scores(each) for each in found]
        trained, untrained, pixels, pca = (
            [rows[name] for rows in seeds] for name in ("encoder", "untrained", "pixels", "pixels, PCA")
        )
        cells = [
            f"**{_value(trained, key)}**{_spread(trained, key)} ({_value(untrained, key)})" for key in columns
        ]
        fastest = min(found, key=lambda each: each["minutes_in_all"])
        place = letters.get(machine(fastest), "")
        minutes = " ".join([f"{fastest['minutes_in_all']:.1f}", *([f"({place})"] if place else [])])
        lines.append(f"| {title} | {len(found)} | {' | '.join(cells)} | {minutes} |")
        by_pixels = {"raw pixels": pixels, "their principal components": pca}
        size = f", {_pixels_a_side(found[0])} px" if len(sizes) > 1 else ""
        for name, control in by_pixels.items():
            controls[name + size] = " | ".join(_value(control, key) for key in columns)
        for name, control in {"its own untrained encoder": untrained, **by_pixels}.items():
            for key in ACCURACIES if len(found) > 1 else ():
                methods = above.setdefault(name, {}).setdefault(key, [])
                methods += [title] if _above(trained, control, key) else []
    lines += [f"| {name} | | {cells} | |" for name, cells in controls.items()]
    if above:
        lines += ["", "Of those with several seeds, above, by more than a 95 % t interval over them,", ""]
        for name, found_above in above.items():
            text = "; ".join(
                f"{ACCURACIES[key]}: {_listed(methods, measured)}" for key, methods in found_above.items()
            )
            lines.append(f"* {name} in {text}.")
    lines += _ceiling(suite)
    named = [f"({letters[place]}) {place}" if letters else place for place in places]
    note = " LiDAR is that of the seeds with one." if unjudged else ""
    return "\n".join([*lines, "", f"{'; '.join(named)}.{note}"])


FRONT = {"digits": "digits", "cifar10-cpu": "CIFAR-10, 10,000 images"}
FIVE = ("barlow", "dino", "jepa", "mae", "simclr")  # of five kinds; the page of results has all methods


def front() -> str:
    """README's table: kNN and linear accuracy of five methods, and the minutes of each one's fastest seed.

    Where methods differ in the size of their images, the controls have the size that is better for them.
    """
    heads = [f"{title}: {each}" for title in FRONT.values() for each in ("kNN", "linear", "minutes")]
    table: dict[str, list[str]] = {METHODS[method]: [] for method in FIVE}
    table |= {"raw pixels": [], "their principal components": []}
    places = []
    for suite, title in FRONT.items():
        rows = read(suite)
        by_size: dict[int, list[dict[str, Any]]] = {}
        machines: dict[str, None] = {}
        for method in FIVE:
            found = [row for row in rows if row["method"] == method]
            seeds = by_size[_pixels_a_side(found[0])] = [_scores(each) for each in found]
            trained, untrained = ([row[name] for row in seeds] for name in ("encoder", "untrained"))
            fastest = min(found, key=lambda each: each["minutes_in_all"])
            machines[machine(fastest)] = None
            table[METHODS[method]] += [
                f"**{_value(trained, key)}**{_spread(trained, key)} ({_value(untrained, key)})"
                for key in ("knn", "linear")
            ] + [f"{fastest['minutes_in_all']:.1f}"]
        for name, control in {"raw pixels": "pixels", "their principal components": "pixels, PCA"}.items():
            best = [
                max((_value([row[control] for row in seeds], key) for seeds in by_size.values()), key=float)
                for key in ("knn", "linear")
            ]
            table[name] += [*best, ""]
        places.append(f"{title}: {' and '.join(machines)}")
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in table.items()]
    return "\n".join([*lines, "", f"{'; '.join(places)}."])


def costs(suite: str) -> dict[str, str]:
    """By method, kNN accuracy beside that of the untrained encoder, and the operations of training."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read(suite):
        rows.setdefault(row["method"], []).append(row)
    return {
        method: "{} ({}), {:,.0f}".format(
            *(_value([_scores(row)[name] for row in found], "knn") for name in ("encoder", "untrained")),
            found[-1]["gflops_of_training"] / 1e3,
        )
        for method, found in rows.items()
    }


def _ceiling(suite: str) -> list[str]:
    """The scores with every label, if measured."""
    found = {row["by"]: row for row in read("ceiling") if row["suite"] == suite}
    if not found:
        return []
    svm, seeds = found["svm"], found["backbone"]["seeds"]
    low, high = (f"{100 * bound:.1f}" for bound in svm["interval"])
    return [
        "",
        f"With every label, a support vector machine on the pixels reaches "
        f"{100 * svm['value']:.1f} [{low}, {high}], and SimCLR's backbone, trained on the same views to "
        f"predict the labels, {_value(seeds, 'knn')}{_spread(seeds, 'knn')} in kNN.",
    ]


def _scores(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All scores of a golden run, by the names of the encoder and its controls."""
    scores = {row["name"]: row["scores"] | {"lidar": {"value": None}} for row in found["results"]["rows"]}
    # Views differ by method, so pixels have no common LiDAR.
    for name in ("encoder", "untrained") if "lidar" in found else ():
        scores[name]["lidar"] = found["lidar"]["scores"][name]
    return scores


def _listed(methods: list[str], of: int) -> str:
    return "all" if len(methods) == of else ", ".join(methods) or "none"


def _above(trained: list[dict[str, Any]], control: list[dict[str, Any]], key: str) -> bool:
    """Whether the interval of the seeds' differences lies above zero."""
    gains = [a[key]["value"] - b[key]["value"] for a, b in zip(trained, control, strict=True)]
    half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
    return statistics.mean(gains) > half


def _pixels_a_side(found: dict[str, Any]) -> int:
    return int(found["results"]["preprocessing"]["image_size"])


def _value(scores: list[dict[str, Any]], key: str) -> str:
    """The mean over the seeds; for a rank, over those that have it."""
    values = [each[key]["value"] for each in scores]
    if key in RANKS:
        values = [value for value in values if value is not None]
    if None in values or not values:
        return "–"
    mean = sum(values) / len(values)
    return f"{mean:.0f}" if key in RANKS else f"{100 * mean:.1f}"


def _spread(scores: list[dict[str, Any]], key: str) -> str:
    """Half of the 95 % interval: of the test images or draws, and of the seeds, as independent errors."""
    intervals = [None if key in RANKS else each[key]["interval"] for each in scores]
    if None in intervals:
        return ""
    half = sum(high - low for low, high in intervals) / (2 * len(intervals))
    if len(scores) > 1:
        deviation = statistics.stdev(each[key]["value"] for each in scores)
        half = math.hypot(half, stats.t.ppf(0.975, len(scores) - 1) * deviation / len(scores) ** 0.5)
    return f" ±{100 * half:.1f}"


def tuned(suite: str) -> str:
    """The suite's trials, a row each, in brackets the untrained encoder if it was judged, pixels last."""
    trials = read(f"tuning-{suite}")
    lines = [f"| | {' | '.join(ACCURACIES.values())} | minutes |"]
    lines += [f"| --- |{' ---: |' * (len(ACCURACIES) + 1)}"]
    controls: dict[str, str] = {}
    for trial in sorted(trials, key=lambda trial: list(METHODS).index(trial["method"])):
        scores = trial["scores"]
        own = [scores["encoder"]]
        cells = [_value(own, name) + _spread(own, name) for name in ACCURACIES]
        if untrained := scores.get("untrained"):
            cells = [
                f"{cell} ({_value([untrained], name)})" for cell, name in zip(cells, ACCURACIES, strict=True)
            ]
        settings = " ".join(f"`{setting}`" for setting in trial["settings"])
        row = [f"{METHODS[trial['method']]} {settings}".strip(), *cells, f"{trial['minutes']:.1f}"]
        lines.append(f"| {' | '.join(row)} |")
        for name, text in {"pixels": "raw pixels", "pixels, PCA": "their principal components"}.items():
            if name in scores:
                controls.setdefault(text, " | ".join(_value([scores[name]], key) for key in ACCURACIES))
    lines += [f"| {name} | {cells} | |" for name, cells in controls.items()]
    machines = "; ".join({machine(trial): None for trial in trials})
    return "\n".join([*lines, "", f"Rows of `benchmarks/results/tuning-{suite}.jsonl`, on {machines}."])
