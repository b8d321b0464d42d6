"""The curves of a run: logged values by step, thinned for a screen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfsup.callbacks.guard.signals import SIGNALS
from selfsup.callbacks.online import EIGENVALUES

POINTS = 400  # of a curve, about

# Charts that are always shown, in order: title, caption, series, and scale of the axis.
CHARTS: tuple[dict[str, Any], ...] = (
    {"title": "Loss", "says": "Should fall, then flatten. Its height says nothing across methods.",
     "series": ["loss"], "scale": "auto"},
    {"title": "Accuracy on training images, while it learns", "unit": "%", "scale": "linear",
     "says": "kNN on a held-back part of the training images. Should rise.",
     "series": ["online/knn", "online/student-knn", "online/teacher-knn"],
     "names": {
         "online/knn": "the encoder that is saved",
         "online/student-knn": "its student",
         "online/teacher-knn": "its teacher",
     }},
    {"title": "Effective rank of the features (RankMe)", "scale": "linear",
     "says": "How many dimensions are in use. Read it beside its start, which is low for many architectures.",
     "series": ["online/rankme", "guard/backbone_rankme", "guard/embedding_rankme"],
     "names": {
         "online/rankme": "features, held-back images",
         "guard/backbone_rankme": "features, the guard's images",
         "guard/embedding_rankme": "what the objective compares",
     }},
    {"title": "Loss on images that are not learned from", "scale": "auto",
     "says": "The same views of learned images beside it. A gap that grows: the task is learned by heart.",
     "series": ["online/loss-held-out", "online/loss-learned"],
     "names": {"online/loss-held-out": "held out", "online/loss-learned": "learned"}},
    {"title": "The largest eigenvalues of the features' covariance", "scale": "log", "ramp": True,
     "says": "A dimension is learned when its eigenvalue rises. Those that fall to nothing are lost.",
     "series": [f"eigenvalue-{number}" for number in range(1, EIGENVALUES + 1)],
     "names": {f"eigenvalue-{number}": f"no. {number}" for number in range(1, EIGENVALUES + 1)}},
    {"title": "Learning rate", "says": "Rises in the warm-up, then falls.", "series": ["lr"],
     "scale": "linear"},
    {"title": "Throughput", "says": "Images a second, averaged over the run so far.",
     "series": ["images_per_second"], "scale": "linear"},
    {"title": "Waiting for data", "says": "Share of the time in which training waited for images.",
     "unit": "%", "series": ["waiting"], "scale": "linear"},
    {"title": "Memory", "says": "GiB in use: the GPU's, or the process's without one.",
     "series": ["memory_gib"], "scale": "linear"},
)  # fmt: skip
_OF_NO_CHART = ("step", "epoch", "seconds")


def curves(rows: Iterable[Mapping[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Series by name, each with ``step`` and ``value``; values that are not finite are left out.

    >>> curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan"), "lr": 0.5}])
    {'loss': {'step': [1], 'value': [2.0]}, 'lr': {'step': [2], 'value': [0.5]}}
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name in _OF_NO_CHART or not math.isfinite(value):
                continue
            series = found.setdefault(name, {"step": [], "value": []})
            # The guard's rows repeat its latest values.
            if name.startswith("guard/") and series["value"][-1:] == [value]:
                continue
            series["step"].append(row["step"])
            series["value"].append(value)
    return {name: thinned(series) for name, series in found.items()}


def positive(rows: Iterable[Mapping[str, float]]) -> list[dict[str, float]]:
    """The rows without values that a logarithmic axis cannot show.

    >>> positive([{"step": 0, "one": 2.0, "two": 0.0}])
    [{'step': 0, 'one': 2.0}]
    """
    return [{name: value for name, value in row.items() if name == "step" or value > 0} for row in rows]


def thinned(series: Mapping[str, list[float]], points: int = POINTS) -> dict[str, list[float]]:
    """Some ``points`` of a series: the lowest and highest of each stretch, so that no spike is lost.

    >>> thinned({"step": [*range(100)], "value": [0.0] * 50 + [9.0] + [0.0] * 49}, 10)["value"].count(9.0)
    1
    """
    steps, values = series["step"], series["value"]
    if len(steps) <= points:
        return {"step": list(steps), "value": list(values)}
    stretches = points // 2
    kept: set[int] = set()
    for i in range(stretches):
        stretch = range(i * len(steps) // stretches, (i + 1) * len(steps) // stretches)
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    order = sorted(kept | {0, len(steps) - 1})
    return {"step": [steps[i] for i in order], "value": [values[i] for i in order]}


def charts(names: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The charts for series of these names: the common ones, and one for each other series."""
    main = [{**chart, "series": [name for name in chart["series"] if name in names]} for chart in CHARTS]
    main = [chart for chart in main if chart["series"]]
    taken = {name for chart in CHARTS for name in chart["series"]}
    more = [
        {
            "title": name,
            "says": SIGNALS.get(name.removeprefix("guard/"), ""),
            "series": [name],
            "scale": "linear",
        }
        for name in sorted(names)
        if name not in taken
    ]
    return main, more
