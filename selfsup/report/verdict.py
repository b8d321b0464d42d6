"""What a run came to, in sentences that need no knowledge of the field."""

import math
from collections.abc import Mapping
from typing import Any

from selfsup.report.folder import Run
from selfsup.report.scores import is_accuracy, row_role

# What a good score of a protocol means the encoder can be used for.
USES = {
    "knn": "finding similar images (kNN)",
    "linear": "classifying with a linear layer on frozen features",
    "5-shot": "classifying from five labelled images a class",
    "rotation": "telling how far an image is turned",
}

COARSE = 5.0  # points that half an interval may have before the report says so


def verdict(run: Run) -> dict[str, Any]:
    """The verdict on a run: ``tone`` (good, mixed, bad, unknown), ``headline`` and ``lines``."""
    lines = [*_uses(run), *_coarse(run), *_warned(run), *_loss(run)]
    if run.results is None:
        headline = "Not judged: nothing says yet whether it learned something"
        return {"tone": "bad" if run.warnings else "unknown", "headline": headline, "lines": lines}
    if not run.results.get("labels", True):
        return {**_without_labels(run), "lines": lines}
    tone, headline = _against_controls(run)
    if run.warnings and tone == "good":
        tone = "mixed"
    return {"tone": tone, "headline": headline, "lines": lines}


def _scores(run: Run, role: str) -> dict[str, dict[str, Any]]:
    rows = (run.results or {}).get("rows", ())
    found: dict[str, dict[str, Any]] = next((row["scores"] for row in rows if row_role(row) == role), {})
    return {name: score for name, score in found.items() if score.get("value") is not None}


def _against_controls(run: Run) -> tuple[str, str]:
    own = {name: s for name, s in _scores(run, "encoder").items() if is_accuracy(s)}
    control = _scores(run, "untrained")
    names = [name for name in dict.fromkeys(("knn", "linear", *own)) if name in own and name in control]
    if not names:
        return "unknown", "There is no untrained encoder to compare with, so its scores say little"
    # The first that shows a gain: masked methods show theirs in linear classifiers, not in neighbours.
    name = next((name for name in names if _above(own[name], control[name])), names[0])
    untrained = control[name]
    better, worse = _above(own[name], untrained), _above(untrained, own[name])
    gain = 100 * (own[name]["value"] - untrained["value"])
    said = f"{_percent(own[name])} right by {USES.get(name, name)}, {_percent(untrained)} untrained"
    if worse:
        return "bad", f"Training made it worse: {said}"
    if not better and _coarse(run):
        return "unknown", f"There are too few test images to tell whether it learned: {said}"
    if not better:
        return "bad", f"Training made no difference that shows: {said}"
    pixels = _scores(run, "pixels").get(name)
    if pixels is not None and not _above(own[name], pixels):
        how = "better" if _above(pixels, own[name]) else "as well"
        return (
            "mixed",
            f"It learned ({gain:+.1f} points), but raw pixels do {how} here: {said}, "
            f"{_percent(pixels)} by raw pixels",
        )
    return "good", f"It learned: {said}" + (f", {_percent(pixels)} by raw pixels" if pixels else "")


def _without_labels(run: Run) -> dict[str, Any]:
    own, untrained = (_scores(run, role).get("rankme") for role in ("encoder", "untrained"))
    if own is None or untrained is None:
        return {"tone": "unknown", "headline": "There are no labels, and no label-free score to compare"}
    said = f"the features use {own['value']:.0f} dimensions, untrained {untrained['value']:.0f} (RankMe)"
    if own["value"] < 2:
        return {"tone": "bad", "headline": f"The features have collapsed: {said}"}
    return {
        "tone": "unknown",
        "headline": f"There are no labels to judge by; {said}. Look at the neighbours and the map",
    }


def _uses(run: Run) -> list[str]:
    """What it is good for: protocols at which it beats all controls, and those at which it does not."""
    own = {name: s for name, s in _scores(run, "encoder").items() if is_accuracy(s)}
    good: list[str] = []
    no: list[str] = []
    for name, score in own.items():
        if name not in USES:
            continue
        rivals = [s for role in ("untrained", "pixels", "pca") if (s := _scores(run, role).get(name))]
        if rivals:
            (good if all(_above(score, rival) for rival in rivals) else no).append(
                f"{USES[name]}: {_percent(score)}"
            )
    lines = [f"Good for {_list(good)}; better than every control."] if good else []
    return lines + ([f"No better than the best control at {_list(no)}."] if no else [])


def _coarse(run: Run) -> list[str]:
    """How far apart scores have to be to mean something, where that is far."""
    count = (run.results or {}).get("n_test")
    intervals = [s["interval"] for s in _scores(run, "encoder").values() if s.get("interval")]
    half = 50 * max((high - low for low, high in intervals), default=0.0)
    if not count or half < COARSE:
        return []
    return [f"With {count} test images a score is known to {half:.0f} points; less than that says little."]


def _warned(run: Run) -> list[str]:
    names = list(dict.fromkeys(str(row.get("name", "?")) for row in run.warnings))
    if names:
        return [f"The collapse guard warned of: {', '.join(names)}. The list is below the curves."]
    return ["The collapse guard had nothing to warn of."] if run.metrics else []


def _loss(run: Run) -> list[str]:
    losses = [(row["step"], row["loss"]) for row in run.metrics if "loss" in row]
    if len(losses) < 2:
        return []
    (first, start), (last, end) = losses[0], losses[-1]
    if not math.isfinite(end):
        return [f"The loss was not finite at step {last:.0f}, where the run stopped."]
    return [f"The loss went from {start:.4g} at step {first:.0f} to {end:.4g} at step {last:.0f}."]


def _above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one score's 95 % interval lies above the other's value, and the other's below its own."""
    low = (one.get("interval") or [one["value"]] * 2)[0]
    high = (other.get("interval") or [other["value"]] * 2)[1]
    return bool(low > other["value"] and high < one["value"])


def _percent(score: Mapping[str, Any]) -> str:
    return f"{100 * score['value']:.1f} %"


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
