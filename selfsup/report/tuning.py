"""The page of a search: every trial's settings and score."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsup.report.templates import rendered
from selfsup.text import printable
from selfsup.tuning.found import CURSE, Found, verdict
from selfsup.tuning.scores import SCORES
from selfsup.tuning.space import Dimension
from selfsup.tuning.study import Trial

WIDTH, HEIGHT = 320, 170  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
_STATES = {"pruned": "ended early", "failed": "failed", "running": "running"}


def tuning_page(
    trials: Sequence[Trial],
    space: Sequence[Dimension],
    outcome: Found,
    *,
    score: str,
    title: str,
    command: str,
    commands: Sequence[str],
    changed: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        outcome: the first trial and the best (:func:`selfsup.tuning.found.found`).
        command: of the search.
        commands: to train and judge what was found.
        changed: settings that were found, by dotted key.
    """
    rows = [_row(each, space, outcome) for each in trials]
    content = {
        "title": title,
        "command": command,
        "verdict": verdict(outcome, score),
        "sure": outcome.sure,
        "curse": CURSE,
        "score": SCORES[score].title,
        "better": SCORES[score].better,
        "minutes": sum(each.minutes for each in trials),
        "commands": list(commands),
        "changed": {key: str(value) for key, value in changed.items()},
        "dimensions": [each.name for each in space],
        "rows": rows,
        "lost": sum(row["state"] != "" for row in rows),
        "charts": [scatter(trials, each, outcome) for each in space],
        "size": [WIDTH, HEIGHT],
        "frame": [LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM],
    }
    return rendered("tuning.html", **printable(content))


def _row(trial: Trial, space: Sequence[Dimension], outcome: Found) -> dict[str, Any]:
    values = {each.name: trial.values.get(each.name, each.default) for each in space}
    half = None if trial.interval is None else (trial.interval[1] - trial.interval[0]) / 2
    return {
        "number": trial.number,
        "role": "best" if trial.number == outcome.best.number else "first" if trial.number == 0 else "",
        "values": {name: "as it is" if value is None else value for name, value in values.items()},
        "value": trial.value,
        "text": "" if trial.value is None else f"{trial.value:.4g}",
        "small": "" if half is None else f"± {half:.2g}",
        "minutes": trial.minutes,
        "state": "" if trial.state == "complete" else _STATES[trial.state],
        "reason": trial.reason,
    }


def scatter(trials: Sequence[Trial], each: Dimension, outcome: Found) -> dict[str, Any]:
    """A dimension against the score: points in the chart's units, and the ends of both axes.

    Example:
        >>> trials = [Trial(0, "complete", {"x": 0.0}, 1.0), Trial(1, "complete", {"x": 1.0}, 2.0)]
        >>> chart = scatter(trials, Dimension("x", 0.0, 1.0), Found(trials[0], trials[1], 1.0, None, False))
        >>> [(point["x"], point["y"], point["role"]) for point in chart["points"]]
        [(52.0, 144.0, 'first'), (310.0, 10.0, 'best')]
    """
    known = [
        (trial, trial.values[each.name])
        for trial in trials
        if trial.state == "complete" and trial.value is not None and each.name in trial.values
    ]
    heights = [trial.value or 0.0 for trial, _ in known]
    low, high = min(heights, default=0.0), max(heights, default=1.0)
    points = [
        {
            "x": round(LEFT + (WIDTH - LEFT - RIGHT) * _share(value, each), 1),
            "y": round(
                HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _between(trial.value or 0.0, low, high), 1
            ),
            "role": "best" if trial is outcome.best else "first" if trial.number == 0 else "",
            "says": f"trial {trial.number}: {each.name} {value}, score {trial.value:.4g}",
        }
        for trial, value in known
    ]
    ends = [str(each.choices[0]), str(each.choices[-1])] if each.choices else [f"{e:g}" for e in each.ends()]
    return {"title": each.name, "points": points, "ends": ends, "heights": [f"{low:.3g}", f"{high:.3g}"]}


def _share(value: Any, each: Dimension) -> float:
    """Where a value lies in its range, from 0 to 1."""
    if each.choices:
        return _between(each.choices.index(value), 0, len(each.choices) - 1)
    if each.log:
        return _between(math.log(value), math.log(each.low), math.log(each.high))
    return _between(float(value), each.low, each.high)


def _between(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else (value - low) / (high - low)
