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
from selfsup.report.stages import forgetting_in_words
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
        images; and ``reasons``, by data set or encoder, where there is no score.
    """
    stages = train.stages
    kept = {stage.name: stage_folder(folder, number) for number, stage in enumerate(stages[:-1])}
    encoders = {f"after {name}": load_encoder(path) for name, path in kept.items() if path.is_dir()}
    encoders[f"after {stages[-1].name}"] = encoder
    judging = load_config("evaluate", ["encoder=run", f"protocols=[{SCORE}]", f"seed={seed}"], dict(data))
    rows: dict[str, dict[str, Any]] = {}
    changes = []
    reasons = {f"after {name}": "its encoder is gone" for name, path in kept.items() if not path.is_dir()}
    for stage, tested in zip(stages, test.stages, strict=True):
        bank, query = subset(train, stage.rows), subset(test, tested.rows)
        if (why := _unjudged(bank, query)) is not None:
            reasons[stage.name] = why
            continue
        found = evaluate(encoders, bank, query, data, protocols=judging["protocols"], seed=seed)
        judged = {row["name"]: row for row in found["rows"]}
        for name, row in judged.items():
            mine = rows.setdefault(name, {"name": name, "role": row["role"], "scores": {}})
            mine["scores"][stage.name] = row["scores"][SCORE]
        last, then = judged[f"after {stages[-1].name}"], judged.get(f"after {stage.name}")
        if then and then is not last and (change := difference(SCORE, last, then)):
            changes.append({"set": stage.name, **change})
    return {"score": SCORE, "rows": [*rows.values()], "changes": changes, "reasons": reasons}


def _unjudged(bank: Source, query: Source) -> str | None:
    """Why a data set cannot be judged on, or None."""
    if bank.labels is None or query.labels is None:
        return "there are no labels"
    if not len(query):
        return "it has no test images"
    return "it has one class" if len(torch.unique(bank.labels)) < 2 else None


def tell_forgetting(found: Mapping[str, Any], console: Console) -> None:
    """Print the table and the sentences."""
    if found["rows"]:
        print_scores("kNN accuracy on each stage's data set in %, [95 % interval]", found["rows"], console)
    for sentence in forgetting_in_words(found):
        say(console, sentence)


def write_forgetting(found: Mapping[str, Any], folder: Path) -> None:
    """Write it into the run's folder, in place of that of a shorter run."""
    write_text(folder / FILE, json.dumps(found, indent=2, allow_nan=False) + "\n")
