"""Methods that are an objective over the embeddings of all views together, which their configuration names.

An encoder, a projector, and a function of one tensor ``(V, N, D)``, perhaps also of who belongs with whom:
FroSSL, MMCR, the spectral contrastive and the triplet loss differ in nothing else.
"""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import COLLAPSED_LATER, DIMENSIONS, SAME_VIEW, TRIVIAL
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors


class AllViews(Method):
    """An objective over all views at once, each through the encoder and the projector by itself.

    Args:
        objective: a function of a tensor ``(V, N, D)`` with its settings, such as ``partial(frossl)``.
        projector: ``hidden`` and ``out`` widths, and ``layers``: linear maps, batch norm and ReLU between.
    """

    failures = (COLLAPSED_LATER, SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(self, *, objective: partial[Tensor], projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        self.objective, self.width = objective, projector["out"]
        self.related = "positives" in signature(objective.func).parameters
        require_views(self.views, 2, objective.func.__name__, "byol")
        self.projector = VICRegProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )

    def loss(self, batch: Batch) -> Output:
        # One forward a view: the views are distributed differently, and so are their batch statistics.
        features = [self.encoder(view) for view in batch.views]
        relation = {} if (positives := batch.positives) is None else {"positives": positives}
        embeddings = torch.stack([self.projector(each) for each in features])
        return Output(self.objective(embeddings, **relation), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        known = {"views": len(self.views), "samples": self.batch_size, "dimensions": self.width}
        return floors.marks(self.objective.func.__name__, {**known, **self.objective.keywords})
