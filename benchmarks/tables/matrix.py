"""The tables of what scores without labels are worth, from ``benchmarks/results/matrix.jsonl``."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from benchmarks.quality.worth import (
    BESIDE,
    GOODNESS,
    ONLINE,
    along,
    best_score,
    between,
    bonett_wright,
    by_set,
    left_out,
    loss_against_labels,
    lost_by_stopping,
    mean_and_interval,
    regret,
    stopped,
)
from benchmarks.rows import METHODS, Row, machine, read
from selfsup.evidence import BEST, HELD_OUT, STOP

NONE = "Not measured yet."
TITLES = {"step": "(the number of steps)", "knn-on-training": "(kNN on training images, with labels)"}
SETS = {"digits": "digits", "cifar10": "CIFAR-10", "tinyimagenet50": "Tiny-ImageNet"}
JUDGES = (("knn", "linear"), ("knn", "finetune"), ("linear", "finetune"))


def of_methods() -> dict[str, list[Row]]:
    """The rows of each method."""
    rows = read("matrix")
    return {name: found for name in METHODS if (found := [row for row in rows if row["method"] == name])}


def within() -> str:
    """A row a score: its correlation with linear accuracy along the runs of each method."""
    methods = of_methods()
    if not methods:
        return NONE
    lines = [f"| | {' | '.join(f'`{name}`' for name in methods)} |", f"| --- |{' ---: |' * len(methods)}"]
    for name in [*GOODNESS, *BESIDE]:
        cells = []
        for rows in methods.values():
            found = [value for row in rows if (value := along(row, name)) is not None]
            cells.append(_cell(*mean_and_interval(found)) if found else "–")
        lines.append(f"| {_title(name)} | {' | '.join(cells)} |")
    counts = sorted({len(rows) for rows in methods.values()})
    runs = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    note = f"Means over {runs} runs of a method, with Student's 95 % intervals over the runs."
    machines = "; ".join(sorted({machine(row) for row in read("matrix")}))
    return "\n".join([*lines, "", f"{note} {machines}."])


def across() -> str:
    """A row a score: its correlation with linear accuracy over the methods, at the ends of their runs."""
    return _over_methods([*GOODNESS, "knn-on-training"], "linear")


def evaluators() -> str:
    """How alike two ways to judge with labels rank the methods."""
    rows = read("matrix")
    if not rows:
        return NONE
    sets = by_set(rows)
    lines = [f"| | {' | '.join(_sets(sets))} |", f"| --- |{' ---: |' * len(_sets(sets))}"]
    for one, other in JUDGES:
        lines.append(f"| {one} and {other} | {' | '.join(_correlations(sets, one, other))} |")
    return "\n".join(lines)


def _over_methods(names: Sequence[str], target: str) -> str:
    rows = read("matrix")
    if not rows:
        return NONE
    sets = by_set(rows)
    lines = [f"| | {' | '.join(_sets(sets))} |", f"| --- |{' ---: |' * len(_sets(sets))}"]
    lines += [f"| {_title(name)} | {' | '.join(_correlations(sets, name, target))} |" for name in names]
    return "\n".join(lines)


def _sets(sets: Mapping[tuple[str, int], list[Row]]) -> list[str]:
    return [title for name, title in SETS.items() if any(each == name for each, _ in sets)]


def _correlations(sets: Mapping[tuple[str, int], list[Row]], name: str, target: str) -> list[str]:
    """A cell a set: the mean over seeds, with the interval of as many methods as there are."""
    cells = []
    for each in (name_of for name_of in SETS if any(one == name_of for one, _ in sets)):
        some = [rows for (one, _), rows in sets.items() if one == each]
        found = [value for rows in some if (value := between(rows, name, target)) is not None]
        fewest = min(len(rows) for rows in some)
        cells.append(_cell(fmean(found), bonett_wright(fmean(found), fewest)) if found else "–")
    return cells


def choosing() -> str:
    """A row a method: what is lost by choosing a checkpoint without labels."""
    methods = of_methods()
    if not methods:
        return NONE
    lines = [
        "| | by the best score of all sets | by that of the other sets | by RankMe | the last | "
        "by labels, below the best |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method, rows in methods.items():
        best = best_score(rows)
        cells = [f"`{best}`: {_losses(rows, best)}" if best else "–"]
        apart = [lost for _, _, lost in left_out(rows)]
        cells.append(_median_and_worst(apart))
        cells += [_losses(rows, name) for name in ("rankme", "step")]
        cells.append(
            _median_and_worst([v for row in rows if (v := regret(row, "knn-on-training")) is not None])
        )
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def stopping() -> str:
    """A row a score: what is lost by stopping once it has not grown for two checkpoints, over all runs."""
    rows = read("matrix")
    if not rows:
        return NONE
    lines = ["| stops by | steps made | points lost, median | worst |", "| --- | ---: | ---: | ---: |"]
    for name in [*ONLINE, HELD_OUT, "knn-on-training"]:
        found = [each for row in rows if (each := stopped(row, name)) is not None]
        if found:
            lost = [points for points, _ in found]
            share = 100 * fmean(made for _, made in found)
            lines.append(f"| {_title(name)} | {share:.0f} % | {median(lost):+.1f} | {max(lost):+.1f} |")
    return "\n".join(lines)


def choices() -> list[Row]:
    """What runs may choose by (:class:`selfsup.evidence.Evidence`): a row a method and use."""
    found = []
    for method, rows in of_methods().items():
        for use, names, lost, labels in (
            (BEST, ONLINE, loss_against_labels, False),
            (STOP, ONLINE, lost_by_stopping, False),
            (STOP, ["knn-on-training"], lost_by_stopping, True),
        ):
            apart = [loss for _, _, loss in left_out(rows, names, lost)]
            if not apart or (best := best_score(rows, names, lost)) is None:
                continue
            made = [each[1] for row in rows if (each := stopped(row, best)) is not None]
            row = {"method": method, "use": use, "labels": labels, "score": best.removesuffix("-on-training")}
            row |= {"runs": len(rows), "sets": sorted({each["set"] for each in rows})}
            row |= {"lost": round(median(apart), 2), "worst": round(max(apart), 2)}
            row["steps"] = round(fmean(made), 2) if use == STOP else 1.0
            ends = [loss for each in rows if (loss := loss_against_labels(each, "step")) is not None]
            ends = [0.0] if use == STOP else ends
            found.append(row | {"last": round(median(ends), 2), "last_worst": round(max(ends), 2)})
    return found


def _title(name: str) -> str:
    return TITLES.get(name, f"`{name}`")


def _cell(value: float, interval: tuple[float, float]) -> str:
    if abs(value) == 1 or interval == (-1.0, 1.0):  # no interval of a few points means anything there
        return f"{value:+.2f}"
    return f"{value:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"


def _losses(rows: Sequence[Row], name: str) -> str:
    return _median_and_worst([v for row in rows if (v := loss_against_labels(row, name)) is not None])


def _median_and_worst(values: Sequence[float]) -> str:
    if not values:
        return "–"
    middle, worst = (round(value, 1) + 0.0 for value in (median(values), max(values)))  # no -0.0
    return f"{middle:+.1f} (worst {worst:+.1f})"
