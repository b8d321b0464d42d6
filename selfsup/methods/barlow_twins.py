"""Barlow Twins: the cross-correlation of two views' embeddings is driven to the identity.

Zbontar et al. 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
arXiv:2103.03230.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from lightly.models.modules.heads import BarlowTwinsProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, FLOOR, SAME_VIEW, TRIVIAL
from selfsup.methods.requirements import require_views
from selfsup.objectives import barlow_twins, floors


class BarlowTwins(Method):
    """Asymmetric views, a three-layer projector, and no negatives, predictor or teacher.

    Args:
        lambda_: weight of the off-diagonal correlations.
        projector: ``hidden`` and ``out`` widths of the projector.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL, FLOOR)
    related = True

    def __init__(self, *, lambda_: float, projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "barlow")
        self.lambda_, self.width = lambda_, projector["out"]
        self.projector = BarlowTwinsProjectionHead(self.encoder.dim, projector["hidden"], projector["out"])

    def loss(self, batch: Batch) -> Output:
        # One forward a view: the views are distributed differently, and so are their batch statistics.
        features = [self.encoder(view) for view in batch.views]
        pairs = list(combinations([self.projector(each) for each in features], 2))
        positives = batch.positives
        losses = [barlow_twins(one, other, self.lambda_, positives) for one, other in pairs]
        return Output(torch.stack(losses).mean(), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {
            "trivial": floors.barlow_twins(self.width),
            "floor": floors.barlow_twins_least(self.batch_size, self.width, self.lambda_),
        }
