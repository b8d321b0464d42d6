"""Barlow Twins: the cross-correlation of two views' embeddings is driven to the identity.

Zbontar et al. 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
arXiv:2103.03230.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from lightly.models.modules.heads import BarlowTwinsProjectionHead
from torch import Tensor

from selfsup.methods.base import Method, require_views
from selfsup.objectives import barlow_twins, floors


class BarlowTwins(Method):
    """Asymmetric views, a three-layer projector, and no negatives, predictor or teacher.

    Args:
        lambda_: weight of the off-diagonal correlations.
        projector: ``hidden`` and ``out`` widths of the projector.
    """

    def __init__(self, *, lambda_: float, projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "barlow")
        self.lambda_, self.width = lambda_, projector["out"]
        self.projector = BarlowTwinsProjectionHead(self.encoder.dim, projector["hidden"], projector["out"])

    @property
    def whole_batch(self) -> bool:
        return True

    def loss(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        # One forward a view: the views are distributed differently, and so are their batch statistics.
        embeddings = [self.projector(self.encoder(view)) for view in views]
        pairs = list(combinations(embeddings, 2))
        loss = torch.stack([barlow_twins(one, other, self.lambda_) for one, other in pairs]).mean()
        return loss, {}

    def observe(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.encoder(views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {
            "trivial": floors.barlow_twins(self.width),
            "floor": floors.barlow_twins_least(self.batch_size, self.width, self.lambda_),
        }
