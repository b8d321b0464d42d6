"""Relational reasoning: a small network says of two views whether they are of one image.

Patacchiola and Storkey 2020, "Self-Supervised Relational Reasoning for Representation Learning",
arXiv:2006.05849.
"""

from typing import Any

import torch
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import SAME_VIEW, TRIVIAL
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors, relation_pairs, relational


class Relational(Method):
    """All pairs of an image's views, and as many of two images, through a head with batch norm.

    The head is on the features of both, without a projector.

    Args:
        gamma: how much less those pairs count that the head is sure of.
        hidden: width of the head.
    """

    failures = (SAME_VIEW, TRIVIAL)

    def __init__(self, *, gamma: float, hidden: int, **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "relational")
        self.gamma = gamma
        self.head = nn.Sequential(
            nn.Linear(2 * self.encoder.dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(),
            nn.Linear(hidden, 1),
        )

    def loss(self, batch: Batch) -> Output:
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        pairs = torch.stack(relation_pairs(features.unflatten(0, (len(batch.views), -1))))
        # At once, or its batch norm would see pairs of one image alone, and know them by that.
        alike, unlike = self.head(pairs.flatten(0, 2)).chunk(2)
        right = torch.cat([alike > 0, unlike < 0]).float().mean()
        return Output(
            relational(alike, unlike, self.gamma), features.chunk(len(batch.views)), {"accuracy": right}
        )

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        return {"backbone": self.encoder(batch.views[0])}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.relational(self.gamma)}
