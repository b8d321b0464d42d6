"""LeJEPA: views of an image agree, and the embeddings of a batch are spread as a Gaussian is; no teacher.

Balestriero and LeCun 2025, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics",
arXiv:2511.08544.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import LeJEPAProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, SHRUNKEN, TRIVIAL
from selfsup.methods.requirements import large_views, require_views
from selfsup.objectives import floors, lejepa


class LeJEPA(Method):
    """All views are drawn to the mean of the large ones; random directions see whether each is a Gaussian.

    The directions are those of the run's seed and the step, the same in all processes.

    Args:
        lambda_: weight of the distance from a Gaussian; that of the agreement is the rest to 1.
        slices: random directions.
        projector: ``hidden`` and ``out`` widths, and ``layers``.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL, SHRUNKEN)

    def __init__(self, *, lambda_: float, slices: int, projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "lejepa")
        self.large = large_views(self.views, "lejepa")
        self.lambda_, self.slices = lambda_, slices
        self.projector = LeJEPAProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )

    def loss(self, batch: Batch) -> Output:
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        embeddings = self.projector(features).unflatten(0, (len(batch.views), -1))
        seed = self.seed * 1_000_003 + batch.step
        loss = lejepa(embeddings, self.large, self.lambda_, self.slices, seed=seed)
        return Output(loss, features.chunk(len(batch.views)))

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.lejepa(self.batch_size, self.lambda_)}
