"""MoCo v3: a view finds, by a prediction, what a slow copy of the network makes of its image's other view.

Chen et al. 2021, "An Empirical Study of Training Self-Supervised Vision Transformers", arXiv:2104.02057.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from lightly.models.modules.heads import MoCoProjectionHead
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TEACHER, TRIVIAL
from selfsup.methods.parts import Teacher
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors, moco_v3


class MoCoV3(Method):
    """A projector, a predictor, a teacher of encoder and projector, and the batch to be told from.

    The heads are lightly's, whose last batch norms have a scale and a shift that the published ones lack.
    The teacher moves after a step instead of before the next one's keys, which is the same.

    Args:
        temperature: of the similarities.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the projector.
        predictor: ``hidden`` width of the predictor.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
        freeze_patches: whether a transformer's projection of patches stays as it began.
    """

    failures = (TEACHER, SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(
        self,
        *,
        temperature: float,
        projector: Mapping[str, int],
        predictor: Mapping[str, int],
        momentum: Mapping[str, float],
        freeze_patches: bool,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "moco_v3", "byol")
        if freeze_patches and isinstance(
            patches := getattr(self.encoder.model, "patch_embed", None), nn.Module
        ):
            patches.requires_grad_(False)
        self.temperature, width = temperature, projector["out"]
        self.projector = MoCoProjectionHead(
            self.encoder.dim, projector["hidden"], width, projector["layers"], batch_norm=True
        )
        self.predictor = MoCoProjectionHead(width, predictor["hidden"], width, 2, batch_norm=True)
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum)

    def loss(self, batch: Batch) -> Output:
        keys = [self.teacher(view) for view in batch.views]
        features = [self.encoder(view) for view in batch.views]
        queries = [self.predictor(self.projector(each)) for each in features]
        pairs = permutations(range(len(batch.views)), 2)
        losses = [moco_v3(queries[one], keys[other], self.temperature) for one, other in pairs]
        return Output(2 * torch.stack(losses).mean(), features)  # of two views the sum, as in the paper

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.predictor(self.projector(features))}

    def marks(self) -> dict[str, float]:
        return {"trivial": 2 * floors.moco_v3(self.batch_size, self.temperature)}
