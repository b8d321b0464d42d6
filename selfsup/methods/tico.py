"""TiCo: a view agrees with a teacher's other view, and avoids the directions that embeddings have had.

Zhu et al. 2022, "TiCo: Transformation Invariance and Covariance Contrast for Self-Supervised Visual
Representation Learning", arXiv:2206.10698.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from lightly.models.modules.heads import TiCoProjectionHead
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import COLLAPSED_LATER, DIMENSIONS, FLOOR, SAME_VIEW, TEACHER, TRIVIAL
from selfsup.methods.parts import Centre, Teacher
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors, tico, tico_moment


class TiCo(Method):
    """A projector, a teacher of encoder and projector, and a running second moment of the embeddings.

    Each view is compared with each other one; all of them make one batch of the second moment.

    Args:
        rho: weight of the second term.
        beta: what is kept of the second moment in a step.
        projector: ``hidden`` and ``out`` widths of the projector.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
    """

    failures = (TEACHER, COLLAPSED_LATER, SAME_VIEW, DIMENSIONS, TRIVIAL, FLOOR)

    def __init__(
        self,
        *,
        rho: float,
        beta: float,
        projector: Mapping[str, int],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "tico", "byol")
        self.rho, self.beta, self.width = rho, beta, projector["out"]
        self.projector = TiCoProjectionHead(self.encoder.dim, projector["hidden"], self.width)
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum)
        self.moment = Centre((self.width, self.width), beta)

    def loss(self, batch: Batch) -> Output:
        targets = [self.teacher(view) for view in batch.views]
        features = [self.encoder(view) for view in batch.views]
        embeddings = [self.projector(each) for each in features]
        losses = [
            tico(embeddings[one], targets[other], self.moment.value, self.rho, self.beta)
            for one, other in permutations(range(len(batch.views)), 2)
        ]
        self.moment.gather(tico_moment(torch.cat(embeddings)))
        return Output(torch.stack(losses).mean(), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        least = floors.tico_least(self.batch_size, self.width, self.rho, self.beta)
        return {"trivial": floors.tico(self.rho), "floor": least}
