"""MoCo v2: a view finds the other view of its image among many earlier ones, which a queue holds.

He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", arXiv:1911.05722; Chen
et al. 2020, "Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import MoCoProjectionHead
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import COLLAPSED_LATER, DIMENSIONS, SAME_VIEW, TEACHER, TRIVIAL
from selfsup.methods.parts import Queue, Teacher
from selfsup.methods.requirements import require_queue, require_views
from selfsup.objectives import floors, moco


class MoCo(Method):
    """A query of the first view, a slow teacher's keys of the others, and a queue of earlier keys.

    The published code shuffles keys over processes, so that a batch norm cannot tell which images are of one
    batch. Here a key sees the batch norm of its own process, by statistics of the teacher's own. The teacher
    moves after a step instead of before the next one's keys, which is the same.

    Args:
        temperature: of the similarities.
        projector: ``hidden`` and ``out`` widths; without batch norm.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
        queue: number of earlier keys to be told from.
    """

    failures = (TEACHER, COLLAPSED_LATER, SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(
        self,
        *,
        temperature: float,
        projector: Mapping[str, int],
        momentum: Mapping[str, float],
        queue: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "moco")
        require_queue(queue, self.batch_size * (len(self.views) - 1))
        self.temperature = temperature
        self.projector = MoCoProjectionHead(self.encoder.dim, projector["hidden"], projector["out"])
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum)
        self.queue = Queue(queue, projector["out"])

    def loss(self, batch: Batch) -> Output:
        features = self.encoder(batch.views[0])
        query = self.projector(features)
        losses = []
        for view in batch.views[1:]:
            key = self.teacher(view)
            losses.append(moco(query, key, self.queue.rows, self.temperature))
            self.queue.gather(key)
        return Output(torch.stack(losses).mean(), [features])

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.moco(len(self.queue.rows))}
