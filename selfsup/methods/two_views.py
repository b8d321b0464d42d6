"""Methods that are an objective over the embeddings of two views, which their configuration names.

An encoder, a projector, and a function of two tensors: VICReg and its kin differ in nothing else.
"""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from itertools import combinations
from typing import Any

import torch
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, FLOOR, SAME_VIEW, SHRUNKEN, TRIVIAL, Failure
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors


class TwoViews(Method):
    """The mean of an objective over all pairs of views, each through the encoder and the projector by itself.

    Args:
        objective: a function of two tensors ``(N, D)`` with its settings, such as ``partial(vicreg)``.
        projector: ``hidden`` and ``out`` widths, and ``layers``: linear maps, batch norm and ReLU between.
    """

    def __init__(self, *, objective: partial[Tensor], projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        self.objective, self.width = objective, projector["out"]
        self.related = "positives" in signature(objective.func).parameters
        require_views(self.views, 2, objective.func.__name__, "byol")
        self.projector = VICRegProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )
        # Where an objective sees directions alone, lengths may be any; else a common mean is no collapse.
        z1, z2 = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
        directions = torch.allclose(objective(z1, z2), objective(2 * z1, 2 * z2), rtol=1e-3)
        watched = (SAME_VIEW, DIMENSIONS, TRIVIAL, FLOOR)
        self.failures: tuple[Failure, ...] = watched if directions else (*watched, SHRUNKEN)

    def loss(self, batch: Batch) -> Output:
        # One forward a view: the views are distributed differently, and so are their batch statistics.
        features = [self.encoder(view) for view in batch.views]
        pairs = combinations([self.projector(each) for each in features], 2)
        relation = {} if (positives := batch.positives) is None else {"positives": positives}
        losses = [self.objective(one, other, **relation) for one, other in pairs]
        return Output(torch.stack(losses).mean(), features)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        known = {"samples": self.batch_size, "dimensions": self.width, **self.objective.keywords}
        return floors.marks(self.objective.func.__name__, known)
