"""The verdict on a run, in sentences that need no knowledge of the field."""

import math
from collections.abc import Mapping
from typing import Any

from selfsup.evaluation.results.verdict import (
    COARSE,
    CONTROLS,
    USES,
    above,
    control_row,
    encoder_rows,
    half_interval,
    is_accuracy,
    judged,
    percent,
    scores_of,
)
from selfsup.report.folder import Run


def verdict(run: Run) -> dict[str, Any]:
    """The verdict on a run: ``tone`` (good, mixed, bad, unknown), ``headline`` and ``lines``."""
    lines = [*_uses(run), *_coarse(run), *_warned(run), *_loss(run)]
    rows = encoder_rows(run.results or {})
    if run.results is None or not rows:
        headline = "Not judged: it is not known yet whether it learned something"
        return {"tone": "bad" if run.warnings else "unknown", "headline": headline, "lines": lines}
    found = judged(run.results, rows[0], _named(run))
    return {"tone": found.tone, "headline": found.headline, "lines": lines}


def _scores(run: Run) -> dict[str, Mapping[str, Any]]:
    rows = encoder_rows(run.results or {})
    return scores_of(rows[0]) if rows else {}


def _uses(run: Run) -> list[str]:
    """What it can be used for: protocols at which it beats all controls, and those at which it does not."""
    own = {name: score for name, score in _scores(run).items() if is_accuracy(score)}
    if run.results is None or not own:
        return []
    row = encoder_rows(run.results)[0]
    controls = [scores_of(control_row(run.results, row, role)) for role in CONTROLS]
    good: list[str] = []
    no: list[str] = []
    for name, score in own.items():
        rivals = [scores[name] for scores in controls if name in scores]
        if name in USES and rivals:
            (good if all(above(score, rival) for rival in rivals) else no).append(
                f"{USES[name]}: {percent(score)}"
            )
    lines = [f"Good for {_list(good)}; better than every control."] if good else []
    return lines + ([f"No better than the best control at {_list(no)}."] if no else [])


def _coarse(run: Run) -> list[str]:
    """The smallest meaningful difference of scores, if that is large."""
    count, half = (run.results or {}).get("n_test"), half_interval(_scores(run))
    if not count or half < COARSE:
        return []
    return [
        f"With {count} test images a score is known to {half:.0f} points; smaller differences mean little."
    ]


def _named(run: Run) -> list[str]:
    return list(dict.fromkeys(str(row.get("name", "?")) for row in run.warnings))


def _warned(run: Run) -> list[str]:
    """The collapse guard's findings; none for a run without it."""
    if names := _named(run):
        return [f"The collapse guard warned of: {', '.join(names)}. The list is below the curves."]
    # Between two checks the rows repeat the guard's values; at step 1 they are the untrained encoder's.
    looks = {row["guard/loss"] for row in run.metrics if "guard/loss" in row}
    if len(looks) > 1:
        return ["The collapse guard gave no warning."]
    if looks:
        return ["The run was too short for the collapse guard, which checked its first step only."]
    return ["The collapse guard was off."] if run.metrics else []


def _loss(run: Run) -> list[str]:
    losses = [(row["step"], row["loss"]) for row in run.metrics if "loss" in row]
    if len(losses) < 2:
        return []
    (first, start), (last, end) = losses[0], losses[-1]
    if not math.isfinite(end):
        return [f"The loss was not finite at step {last:.0f}, where the run stopped."]
    return [f"The loss went from {start:.4g} at step {first:.0f} to {end:.4g} at step {last:.0f}."]


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
