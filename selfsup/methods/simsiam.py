"""SimSiam: from one view, the embedding of the other is predicted, by and from one and the same network.

Chen and He 2021, "Exploring Simple Siamese Representation Learning", arXiv:2011.10566.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW
from selfsup.methods.requirements import require_views
from selfsup.objectives import simsiam


class SimSiam(Method):
    """A projector of three layers and a predictor, with batch norm; the targets have no gradient.

    The published code keeps the predictor's learning rate constant; here it follows that of all the rest.

    Args:
        projector: ``hidden`` and ``out`` widths of the projector.
        predictor: ``hidden`` width of the predictor, narrower than the embedding.
    """

    failures = (SAME_VIEW, DIMENSIONS)

    def __init__(self, *, projector: Mapping[str, int], predictor: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "simsiam", "moco")
        width = projector["out"]
        self.projector = SimSiamProjectionHead(self.encoder.dim, projector["hidden"], width)
        self.predictor = SimSiamPredictionHead(width, predictor["hidden"], width)

    def loss(self, batch: Batch) -> Output:
        features = [self.encoder(view) for view in batch.views]
        projections = [self.projector(each) for each in features]
        predictions = [self.predictor(each) for each in projections]
        pairs = permutations(range(len(batch.views)), 2)
        losses = [simsiam(predictions[one], projections[other]) for one, other in pairs]
        return Output(torch.stack(losses).mean(), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.predictor(self.projector(features))}
