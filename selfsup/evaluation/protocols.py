"""Protocols by name: what is done with features, and the record that is left of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.neighbours import knn
from selfsup.evaluation.probes import SHOT_STRENGTH, STRENGTHS, linear_probe, nshot
from selfsup.evaluation.spectra import rankme, too_few

Score = dict[str, Any]
Protocol = Callable[[Features, Features], Score]


def labelled(k: int, temperature: float, shots: int, draws: int, seed: int) -> dict[str, Protocol]:
    """The protocols that need labels, by name: accuracies on the test split, from 0 to 1."""
    return {
        "knn": lambda train, test: knn_score(train, test, k, temperature),
        "linear": lambda train, test: linear_score(train, test, seed),
        f"{shots}-shot": lambda train, test: nshot_score(train, test, shots, draws, seed),
    }


def unlabelled() -> dict[str, Protocol]:
    """The protocols that need no labels, by name."""
    return {
        "rankme": lambda train, test: rankme_score(train, centre=False),
        "rankme-centred": lambda train, test: rankme_score(train, centre=True),
    }


def record(name: str, protocol: Protocol, train: Features, test: Features) -> Score:
    """The protocol's score; where it has none, its value is None and ``reason`` says why.

    Keys: ``protocol``, ``value``, ``interval`` (95 %, or None), ``split`` (what settings were selected
    on; never the test split), ``n_train``, ``n_test``, ``settings``, ``flags`` (sentences that qualify
    the value), ``reason``.
    """
    blank: Score = {"protocol": name, "value": None, "interval": None, "split": None, "settings": {}}
    blank |= {"n_train": len(train), "n_test": len(test), "flags": [], "reason": None}
    try:
        _require_finite(train, test)
        return blank | protocol(train, test)
    except NoScore as why:
        return blank | {"reason": str(why)}


def knn_score(train: Features, test: Features, k: int, temperature: float) -> Score:
    """Weighted nearest neighbours; nothing is selected."""
    labels, truth = _labels(train, test)
    votes = knn(train.x, labels, test.x, k, temperature)
    settings = {"k": k, "temperature": temperature, "metric": "cosine", "source": "arXiv:2104.14294"}
    return _accuracy(votes.argmax(1), truth) | {
        "split": "none: nothing is selected",
        "settings": settings,
        "flags": _absent(labels, truth),
    }


def linear_score(train: Features, test: Features, seed: int) -> Score:
    """Logistic regression, its strength selected on a hold-out of the training split."""
    labels, truth = _labels(train, test)
    probe = linear_probe(train.x, labels, test.x, seed=seed)
    flags = _absent(labels, truth)
    # The weak end is no limit worth a word: there the penalty has ceased to matter.
    if probe.strength == max(STRENGTHS):
        flags.append(
            f"the strongest penalty tried, {probe.strength:g}, was best; perhaps one beyond is better"
        )
    return _accuracy(probe.predictions, truth) | {
        "split": f"hold-out of {probe.samples} training samples",
        "seed": seed,
        "settings": {
            "classifier": "logistic regression on standardised features",
            "strength": probe.strength,
            "holdout_accuracy": {f"{strength:g}": value for strength, value in probe.holdout.items()},
            "source": "arXiv:2304.07193",
        },
        "flags": flags,
    }


def nshot_score(train: Features, test: Features, shots: int, draws: int, seed: int) -> Score:
    """Ridge classifier on few samples a class; the interval is over draws of the samples."""
    labels, truth = _labels(train, test)
    accuracies = nshot(train.x, labels, test.x, truth, shots, draws, seed)
    low, high = student(accuracies)
    settings = {"classifier": "ridge", "strength": SHOT_STRENGTH, "shots": shots, "draws": draws}
    return {
        "value": sum(accuracies) / draws,
        "interval": [max(low, 0.0), min(high, 1.0)] if draws > 1 else None,
        "split": "none: nothing is selected",
        "seed": seed,
        "settings": settings | {"accuracies": accuracies},
        "flags": _absent(labels, truth),
    }


def rankme_score(train: Features, centre: bool) -> Score:
    """Effective rank of the training split's features."""
    few = too_few(train.x)
    return {
        "value": rankme(train.x, centre),
        "split": "none: nothing is selected",
        "n_test": 0,
        "settings": {"eps": 1e-7, "centre": centre, "width": train.x.shape[1], "source": "arXiv:2210.02885"},
        "flags": [] if few is None else [few],
    }


def _accuracy(predictions: Tensor, truth: Tensor) -> Score:
    correct = int((predictions == truth).sum())
    return {"value": correct / len(truth), "interval": list(wilson(correct, len(truth)))}


def _labels(train: Features, test: Features) -> tuple[Tensor, Tensor]:
    if train.labels is None or test.labels is None:
        raise NoScore("there are no labels")
    if (train.x == train.x[0]).all():
        raise NoScore("the features of all training images are the same")
    return train.labels, test.labels


def _absent(labels: Tensor, truth: Tensor) -> list[str]:
    absent = int((~torch.isin(truth, labels)).sum())
    if not absent:
        return []
    return [f"{absent} of {len(truth)} test samples count as wrong, being of classes absent from training"]


def _require_finite(train: Features, test: Features) -> None:
    for split, features in (("training", train), ("test", test)):
        if len(features) == 0:
            raise NoScore(f"there are no {split} images")
        bad = int((~features.x.isfinite().all(dim=1)).sum())
        if bad:
            raise NoScore(f"features of {bad} of {len(features)} {split} images are not finite")
