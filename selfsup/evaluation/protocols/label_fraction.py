"""Accuracy against the share of labels: how many labels pretraining saves."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.finetuning import predictions, train_whole
from selfsup.evaluation.classifiers.ridge import ridge_probe
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.registry import (
    Above,
    AtLeast,
    AtMost,
    Count,
    Decay,
    Fraction,
    Positive,
    Positives,
    named,
)
from selfsup.evaluation.score import Score, absent

CITATION = "the 1 % and 10 % of Chen et al. 2020, arXiv:2002.05709, with a frozen encoder"


def _names(shares: list[float], scratch_epochs: int, **settings: Any) -> list[str]:
    kinds = ["labels", "from-scratch"] if scratch_epochs else ["labels"]
    return [f"{100 * share:g}%-{kind}" for kind in kinds for share in shares]


@named(_names)
def score(
    train: Features,
    test: Features,
    *,
    shares: Annotated[list[float], Above(0), AtMost(1)],
    draws: Count,
    strengths: Positives,
    holdout: Fraction,
    scratch_epochs: Annotated[int, AtLeast(0)],
    batch: Count,
    rate: Positive,
    weight_decay: Decay,
    plan: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> dict[str, Score]:
    """A ridge classifier on frozen features with a share of the labels, one score for each share.

    Beside the encoder's row stands that of its architecture untrained; with ``scratch_epochs`` above 0, also
    the accuracy of that architecture trained from scratch, end to end, on the same labels.
    """
    scores = {}
    for share in shares:
        scores[f"{100 * share:g}%-labels"] = _frozen(
            train, test, share, draws if share < 1 else 1, strengths, holdout, seed
        )
    for share in shares if scratch_epochs else []:
        settings = {"epochs": scratch_epochs, "batch": batch, "rate": rate, "weight_decay": weight_decay}
        scores[f"{100 * share:g}%-from-scratch"] = _scratch(train, test, share, plan, settings, seed)
    return scores


def drawn(labels: Tensor, share: float, seed: int) -> Tensor:
    """Rows of a random ``share`` of each class, two at least: one to fit and one to select."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        count = min(len(members), max(2, round(share * len(members))))
        rows.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(rows).sort().values


def _frozen(
    train: Features, test: Features, share: float, draws: int, strengths: Any, holdout: float, seed: int
) -> Score:
    assert train.labels is not None
    assert test.labels is not None
    accuracies = []
    used = 0
    for draw in range(draws):
        rows = drawn(train.labels, share, seed + draw)
        probe = ridge_probe(train.x[rows], train.labels[rows], test.x, strengths, holdout, seed + draw)
        accuracies.append(float((probe.predictions == test.labels).double().mean()))
        used = len(rows)
    value = sum(accuracies) / draws
    low, high = student(accuracies) if draws > 1 else wilson(round(value * len(test)), len(test))
    return Score(
        value=value,
        interval=(max(low, 0.0), min(high, 1.0)),
        split="hold-out of the labelled samples",
        seed=seed,
        settings={"classifier": "ridge", "share": share, "draws": draws, "accuracies": accuracies},
        citation=CITATION,
        n_train=used,
        flags=absent(train.labels, test.labels),
        accuracy=True,
    )


def _scratch(
    train: Features, test: Features, share: float, plan: Any, settings: dict[str, Any], seed: int
) -> Score:
    assert train.labels is not None
    assert test.labels is not None
    if train.images is None or test.images is None or train.images.encoder is None:
        return Score(reason="there is no encoder to train from scratch", settings=settings, accuracy=True)
    rows = drawn(train.labels, share, seed)
    present, target = train.labels[rows].unique(return_inverse=True)
    fresh = train.images.encoder.untrained(seed)
    model = train_whole(
        train.images,
        fresh,
        train.index[rows],
        target,
        len(present),
        plan=plan,
        layer_decay=1.0,
        seed=seed,
        **settings,
    )
    hits = int((present[predictions(model, test.images, test.index)] == test.labels).sum())
    return Score(
        value=hits / len(test),
        interval=wilson(hits, len(test)),
        seed=seed,
        settings={**settings, "share": share},
        citation=CITATION,
        n_train=len(rows),
        flags=absent(train.labels, test.labels),
        accuracy=True,
    )
