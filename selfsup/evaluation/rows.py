"""Rows of the table: the encoders, and the controls that give their scores a meaning."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.features.frozen import FrozenEncoder, Pixels
from selfsup.evaluation.features.images import Fitting, described, fitting

PRINCIPAL_ROWS = 8192


@dataclass
class Judged:
    """A row of the table.

    Attributes:
        name: the row's name.
        role: ``"encoder"``, ``"start"``, ``"untrained"``, ``"pixels"`` or ``"pca"``.
        frozen: the encoder with its preprocessing, or the pixels.
        fitting: how images are resized and cropped for it.
        encoder: None where there is none.
        fingerprint: the encoder's identity, or None.
        untrained: the name of the row of an encoder's untrained architecture, if there is one.
        start: the name of the row of the encoder that its training began with, if that had weights.
    """

    name: str
    role: str
    frozen: FrozenEncoder
    fitting: Fitting
    encoder: Any = None
    fingerprint: str | None = None
    untrained: str | None = None
    start: str | None = None

    def from_labels(self) -> list[str]:
        """What its training learned from labels, as its card says; empty if that says nothing."""
        said = self.encoder.card.get("from_labels") if self.role == "encoder" else None
        return [str(each) for each in said] if isinstance(said, list) else []

    def preprocessing(self) -> dict[str, Any]:
        """The preprocessing of an image."""
        return {
            **described(self.fitting),
            "mean": [round(value, 6) for value in self.frozen.mean.flatten().tolist()],
            "std": [round(value, 6) for value in self.frozen.std.flatten().tolist()],
        }


def judged_rows(
    encoders: Mapping[str, Any],
    starts: Mapping[str, Any],
    controls: bool,
    untrained_seeds: int,
    seed: int,
    precision: str,
    device: str | torch.device,
) -> list[Judged]:
    """The encoders, what each began with, each architecture untrained, and the first one's raw pixels."""
    rows = [_of(name, "encoder", each, precision, device) for name, each in encoders.items()]
    if not controls:
        return rows
    begun: dict[str, Judged] = {}
    for row in rows:
        if row.name in starts:
            called = f"start of {row.name}" if len(encoders) > 1 else "start"
            start = _of(called, "start", starts[row.name], precision, device)
            row.start = begun.setdefault(str(start.fingerprint), start).name
    rows += begun.values()
    architectures: dict[str, tuple[str, Any]] = {}
    for name, each in encoders.items():
        architectures.setdefault(_recipe(each), (name, each))
    for recipe, (name, each) in architectures.items():
        called = "untrained" if len(architectures) == 1 else f"untrained {name}"
        for row in rows[: len(encoders)]:
            row.untrained = called if _recipe(row.encoder) == recipe else row.untrained
        for i in range(untrained_seeds):
            control = each.untrained(seed + i)
            rows.append(_of(f"{called} {i + 1}" if i else called, "untrained", control, precision, device))
    return [*rows, Judged("pixels", "pixels", Pixels(rows[0].frozen.mean.numel()), rows[0].fitting)]


def _of(name: str, role: str, encoder: Any, precision: str, device: str | torch.device) -> Judged:
    fingerprint = encoder.fingerprint()
    frozen = FrozenEncoder(encoder.to(device), encoder.mean, encoder.std, precision)
    return Judged(name, role, frozen, fitting(encoder), encoder, fingerprint)


def _recipe(encoder: Any) -> str:
    seen = described(fitting(encoder))
    return json.dumps([encoder.recipe, seen, encoder.mean, encoder.std], sort_keys=True)


def principal_components(train: Features, test: Features, width: int) -> tuple[Features, Features]:
    """Both projected on the ``width`` directions in which the training features vary most, centred.

    The directions are those of 8,192 evenly spaced samples, if there are more: enough for this control, a
    linear map of the pixels that never saw a label.
    """
    mean = train.x.mean(dim=0)
    rows = train.x[:: max(1, -(-len(train) // PRINCIPAL_ROWS))] - mean
    width = min(width, *rows.shape)
    directions = _directions(rows, width)
    projected = ((part.x - mean) @ directions for part in (train, test))
    bank, query = (
        Features(x, part.labels, part.index, part.skipped)
        for x, part in zip(projected, (train, test), strict=True)
    )
    return bank, query


def _directions(rows: Tensor, width: int) -> Tensor:
    """The first ``width`` right singular vectors of ``rows`` ``(n, d)``: ``(d, width)``."""
    if len(rows) < rows.shape[1]:
        return torch.linalg.svd(rows, full_matrices=False)[2][:width].t()
    return torch.linalg.eigh(rows.t() @ rows)[1].flip(1)[:, :width]
