"""What an encoder that learned from one data set after another still does on each of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from selfsup.callbacks.stages import stage_folder
from selfsup.config import load_config
from selfsup.data import Source, subset
from selfsup.encoder import Encoder, load_encoder
from selfsup.evaluation import evaluate
from selfsup.evaluation.results.comparison import difference
from selfsup.evaluation.results.table import print_scores
from selfsup.files import write_text
from selfsup.terminal import say

FILE = "forgetting.json"
SCORE = "knn"


def forgetting(
    encoder: Encoder, train: Source, test: Source, data: Mapping[str, Any], folder: Path, seed: int
) -> dict[str, Any]:
    """The kNN accuracy of each stage's encoder, and of controls, on each stage's data set.

    Args:
        encoder: of the last stage.
        train, test: of all stages.
        data: the data's configuration.
        folder: of the run, which holds the encoders of the other stages.

    Returns:
        Plain JSON types: ``rows``, a row an encoder with its ``name``, ``role`` and ``scores`` by data set;
        ``changes``, for each data set but the last how far the last encoder is from the one that had just
        learned from it (:func:`selfsup.evaluation.results.comparison.difference`), paired over the same test
        images; and ``reasons``, by data set, where there is no score.
    """
    stages = train.stages
    earlier = [load_encoder(stage_folder(folder, number)) for number in range(len(stages) - 1)]
    encoders = {f"after {stage.name}": each for stage, each in zip(stages, [*earlier, encoder], strict=True)}
    judging = load_config("evaluate", ["encoder=run", f"protocols=[{SCORE}]", f"seed={seed}"], dict(data))
    rows: dict[str, dict[str, Any]] = {}
    changes, reasons = [], {}
    for number, (stage, tested) in enumerate(zip(stages, test.stages, strict=True)):
        bank, query = subset(train, stage.rows), subset(test, tested.rows)
        if (why := _unjudged(bank, query)) is not None:
            reasons[stage.name] = why
            continue
        found = evaluate(encoders, bank, query, data, protocols=judging["protocols"], seed=seed)
        for row in found["rows"]:
            kept = rows.setdefault(row["name"], {"name": row["name"], "role": row["role"], "scores": {}})
            kept["scores"][stage.name] = row["scores"][SCORE]
        if stage is not stages[-1]:
            change = difference(SCORE, found["rows"][len(stages) - 1], found["rows"][number])
            changes += [{"set": stage.name, **change}] if change else []
    return {"score": SCORE, "rows": [*rows.values()], "changes": changes, "reasons": reasons}


def _unjudged(bank: Source, query: Source) -> str | None:
    """Why a data set cannot be judged on, or None."""
    if bank.labels is None or query.labels is None:
        return "there are no labels"
    if not len(query):
        return "it has no test images"
    return "it has one class" if len(torch.unique(bank.labels)) < 2 else None


def tell_forgetting(found: Mapping[str, Any], console: Console) -> None:
    """Print the table, and a sentence about each data set that was learned from before the last."""
    if found["rows"]:
        print_scores("kNN accuracy on each stage's data set in %, [95 % interval]", found["rows"], console)
    for change in found["changes"]:
        low, high = (100 * end for end in change["interval"])
        what = "neither gained nor lost" if change["within_noise"] else "lost" if high < 0 else "gained"
        points = f"{100 * change['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        say(console, f"{change['set']}, since it was learned: {what}, kNN {points}")
    for name, why in found["reasons"].items():
        say(console, f"{name}: not judged, {why}")


def write_forgetting(found: Mapping[str, Any], folder: Path) -> None:
    """Write it into the run's folder, in place of that of a shorter run."""
    write_text(folder / FILE, json.dumps(found, indent=2, allow_nan=False) + "\n")
