"""DIET: a linear classifier names which training image a view is of; each image is a class of its own.

Ibrahim et al. 2024, "Occam's Razor for Self Supervised Learning: What is Sufficient to Learn Good
Representations?", arXiv:2406.10743; Balestriero 2023, arXiv:2302.10260.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import FLOOR, TRIVIAL
from selfsup.objectives import diet, floors

EPOCHS = 10  # before an image was seen often enough to be known again


class DIET(Method):
    """Cross-entropy with much label smoothing; no second view, projector or teacher.

    Args:
        samples: number of training samples, which the run counts.
        smoothing: share of the label that all samples get alike.
    """

    def __init__(self, *, samples: int, smoothing: float, **common: Any) -> None:
        super().__init__(**common)
        self.samples, self.smoothing = samples, smoothing
        self.classifier = nn.Linear(self.encoder.dim, samples, bias=False)
        steps = EPOCHS * samples // self.batch_size
        self.failures = (replace(TRIVIAL, from_step=max(TRIVIAL.from_step, steps)), FLOOR)

    def loss(self, batch: Batch) -> Output:
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        logits, index = self.classifier(features), batch.index.repeat(len(batch.views))
        known = (logits.detach().argmax(1) == index).float().mean()
        return Output(
            diet(logits, index, self.smoothing), features.chunk(len(batch.views)), {"recognised": known}
        )

    def marks(self) -> dict[str, float]:
        return floors.marks("diet", {"samples": self.samples, "smoothing": self.smoothing})
