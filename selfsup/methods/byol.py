"""BYOL: from one view, what a slow copy of the network says of the other is predicted.

Grill et al. 2020, "Bootstrap your own latent", arXiv:2006.07733.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TEACHER
from selfsup.methods.parts import Teacher
from selfsup.methods.requirements import require_views
from selfsup.objectives import byol


class BYOL(Method):
    """A projector and a predictor with batch norm, and a teacher of encoder and projector.

    Args:
        projector: ``hidden`` and ``out`` widths of the projector.
        predictor: ``hidden`` width of the predictor.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
    """

    failures = (TEACHER, SAME_VIEW, DIMENSIONS)

    def __init__(
        self,
        *,
        projector: Mapping[str, int],
        predictor: Mapping[str, int],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "byol")
        width = projector["out"]
        self.projector = BYOLProjectionHead(self.encoder.dim, projector["hidden"], width)
        self.predictor = BYOLPredictionHead(width, predictor["hidden"], width)
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum)

    def loss(self, batch: Batch) -> Output:
        targets = [self.teacher(view) for view in batch.views]
        features = [self.encoder(view) for view in batch.views]
        predictions = [self.predictor(self.projector(each)) for each in features]
        pairs = list(permutations(range(len(batch.views)), 2))
        losses = [byol(predictions[one], targets[other]) for one, other in pairs]
        return Output(2 * torch.stack(losses).mean(), features)  # of two views the sum, as in the paper

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.predictor(self.projector(features))}
