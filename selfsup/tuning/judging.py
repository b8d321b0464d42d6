"""The images that no trial learns from, and the score of an encoder on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsup.config import load_config
from selfsup.data import Source
from selfsup.data.fingerprint import fingerprint
from selfsup.data.load import chosen, chosen_ranged
from selfsup.data.select import rows_of
from selfsup.data.settings import colours_of
from selfsup.data.source import in_memory
from selfsup.encoder import load_encoder
from selfsup.errors import UsageError
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features, evaluating
from selfsup.evaluation.features.ranges import with_channels
from selfsup.evaluation.label_free.rotation import TURNS, interval, rotation
from selfsup.evaluation.passes import see
from selfsup.evaluation.registry import protocols, records
from selfsup.evaluation.rows import judged_rows
from selfsup.evaluation.view_choice import choose_views
from selfsup.tuning.scores import SCORES
from selfsup.views import view_kinds

FEWEST = 50  # held images, of which a probe is judged on ten
_SUBSETS = ("indices", "per_class", "imbalance")  # settings that choose among the training images


class Parts(NamedTuple):
    """Positions in the training split: to learn from, and held for the score."""

    learned: Tensor
    held: Tensor
    fingerprint: str  # of all of them


def parts(data: Mapping[str, Any], held: int, seed: int) -> Parts:
    """Divide the training images, at random by ``seed``.

    Args:
        data: the configuration.
        held: images to hold, at most a fifth of them.

    Raises:
        UsageError: the data does not choose its images by ``indices``, or has too few.
    """
    if "indices" not in data:
        raise UsageError(
            f"data={data['name']} learns from all of its images, and none can be held for a score; take "
            "another data="
        )
    source = chosen({**data, **dict.fromkeys(_SUBSETS)})[0]
    rows = rows_of(source, data)
    pool = torch.arange(len(source)) if rows is None else rows
    count = min(held, len(pool) // 5)
    if count < FEWEST:
        raise UsageError(
            f"{len(pool)} training images are too few to hold a fifth of them for a score, which needs "
            f"{FEWEST}; a search needs at least {5 * FEWEST}"
        )
    order = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    return Parts(order[count:].sort().values, order[:count].sort().values, fingerprint(source))


def of_part(file: Path) -> dict[str, Any]:
    """Settings of the data that choose the positions listed in a file.

    >>> of_part(Path("held.txt"))
    {'indices': 'held.txt', 'per_class': None, 'imbalance': None}
    """
    return {**dict.fromkeys(_SUBSETS), "indices": str(file)}


class Judge:
    """Gives an encoder's folder its score on the held images."""

    def __init__(self, score: str, config: Mapping[str, Any], held: Path, device: str):
        self.score, self.config, self.device = score, config, device
        self.data = {**config["data"], **of_part(held), "balanced": False}
        self.held: Source | None = None

    def __call__(self, folder: Path) -> dict[str, Any]:
        """The record of the score (:func:`selfsup.evaluation.registry.record`)."""
        encoder = load_encoder(str(folder)).to(self.device)
        encoders = {"encoder": encoder}
        if self.held is None:
            data = with_channels(self.data, encoders, self.config["overrides"])
            self.held = in_memory(chosen_ranged(data, encoder.range)[0])
        name, seed = SCORES[self.score].protocol, self.config["seed"]
        settings = load_config("evaluate", ["encoder=run", f"protocols=[{name}]", f"seed={seed}"])[
            "protocols"
        ]
        for need in settings[name].get("needs", {}).values():
            if "plan" in need:  # the same views for all trials, whatever views they learned from
                need["plan"] = view_kinds(self.config["views"])
        chosen_protocols = protocols(settings)
        choose_views(chosen_protocols, encoders, self.data, colours_of(self.data))
        rows = judged_rows(encoders, {}, False, 1, seed, "float32", self.device)
        with evaluating(encoder):
            seen = see(rows, chosen_protocols, self.held, "train", 256, self.data)[0]
            features = seen.of(chosen_protocols[0])
            if self.score == "rotation":
                return rotation_of_all(features, seed)
            return records(chosen_protocols[0], features, features)[self.score]


def rotation_of_all(features: Features, seed: int) -> dict[str, Any]:
    """The rotation probe with each fifth of the images judged in turn: value, interval, reason, flags, told.

    ``told`` is a text with a digit an image, how many of its four turns were told, so that two encoders can
    be compared image by image; of the last few, which no fifth has, it has a dot.
    """
    if "turns" not in features.parts:
        return _without(features.missing.get("turns", "no turns"))
    turned = features.parts["turns"].x.transpose(0, 1)
    try:
        folds = [rotation(turned, seed, fold) for fold in range(5)]
    except NoScore as why:
        return _without(str(why))
    told = ["."] * turned.shape[1]
    shares: list[float] = []
    for fold in folds:
        shares += fold.shares
        for row, share in zip(fold.rows, fold.shares, strict=True):
            told[row] = str(round(TURNS * share))
    value = sum(shares) / len(shares)
    return {
        "value": value,
        "interval": list(interval(shares)),
        "reason": None,
        "flags": [],
        "told": "".join(told),
    }


def _without(reason: str) -> dict[str, Any]:
    """A record without a value."""
    return {"value": None, "interval": None, "reason": reason, "flags": []}
