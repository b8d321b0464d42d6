"""NNCLR: a view's neighbour among earlier images finds the other view, among all views of the batch.

Dwibedi et al. 2021, "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual
Representations", arXiv:2104.14548.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from lightly.models.modules.heads import NNCLRPredictionHead, NNCLRProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TRIVIAL
from selfsup.methods.parts import Queue
from selfsup.methods.requirements import require_queue, require_views
from selfsup.objectives import floors, nnclr


class NNCLR(Method):
    """A projector and a predictor, with batch norm, and a queue of the first view's projections.

    Args:
        temperature: of the similarities.
        projector: ``hidden`` and ``out`` widths of the projector.
        predictor: ``hidden`` width of the predictor.
        queue: number of earlier projections among which neighbours are looked for.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(
        self,
        *,
        temperature: float,
        projector: Mapping[str, int],
        predictor: Mapping[str, int],
        queue: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "nnclr", "simclr")
        require_queue(queue, self.batch_size)
        self.temperature, width = temperature, projector["out"]
        self.projector = NNCLRProjectionHead(self.encoder.dim, projector["hidden"], width)
        self.predictor = NNCLRPredictionHead(width, predictor["hidden"], width)
        self.queue = Queue(queue, width)

    def loss(self, batch: Batch) -> Output:
        features = [self.encoder(view) for view in batch.views]
        projections = [self.projector(each) for each in features]
        predictions = [self.predictor(each) for each in projections]
        losses = [
            nnclr(predictions[other], projections[one], self.queue.rows, self.temperature)
            for one, other in permutations(range(len(batch.views)), 2)
        ]
        self.queue.gather(projections[0])
        return Output(torch.stack(losses).mean(), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.predictor(self.projector(features))}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.nnclr(self.batch_size)}
