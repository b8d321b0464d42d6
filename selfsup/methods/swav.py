"""SwAV: each view predicts which prototypes another view of its image is assigned to.

Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
arXiv:2006.09882.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import SwaVProjectionHead
from torch import Tensor, nn

from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TRIVIAL
from selfsup.methods.parts import Prototypes, Queue
from selfsup.methods.requirements import large_views, require_views
from selfsup.objectives import floors, swav


class SwAV(Method):
    """Multi-crop, trained prototypes, and balanced assignments of the views of the largest size.

    Args:
        temperature: of the predictions.
        epsilon: of the assignments: the lower, the harder they are.
        rounds: of balancing.
        projector: ``hidden`` and ``out`` widths.
        prototypes: ``count`` of the prototypes, and ``freeze``, the share of the run in which they stand
            still.
        queue: ``size``, how many earlier embeddings of each large view are assigned together with a batch (0
            for none), and ``start``, the share of the run after which they are.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(
        self,
        *,
        temperature: float,
        epsilon: float,
        rounds: int,
        projector: Mapping[str, int],
        prototypes: Mapping[str, Any],
        queue: Mapping[str, Any],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "swav")
        self.large = large_views(self.views, "swav")
        if 0 < queue["size"] < self.batch_size:
            raise UsageError(
                f"method.queue.size is {queue['size']}, less than a batch, of which the rest would be lost; "
                f"take {self.batch_size} or more, or 0 for no queue"
            )
        self.temperature, self.epsilon, self.rounds, self.queue = temperature, epsilon, rounds, queue
        width = projector["out"]
        self.projector = SwaVProjectionHead(self.encoder.dim, projector["hidden"], width)
        self.prototypes = Prototypes(width, prototypes["count"], prototypes["freeze"])
        queues = self.large if queue["size"] else 0
        self.queues: Any = nn.ModuleList(Queue(queue["size"], width) for _ in range(queues))

    def loss(self, batch: Batch) -> Output:
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        embeddings = self.projector(features).unflatten(0, (len(batch.views), -1))
        scores = self.prototypes(embeddings)
        teacher, earlier = scores[: self.large], self.earlier(batch)
        loss = swav(scores, teacher, self.temperature, self.epsilon, self.rounds, earlier)
        for queue, large in zip(self.queues, embeddings, strict=False):
            queue.gather(large)
        return Output(loss, features.chunk(len(batch.views)))

    @torch.no_grad()
    def earlier(self, batch: Batch) -> Tensor | None:
        """Scores ``(G, Q, K)`` of the queued embeddings, None before there are enough or it is time."""
        if not self.queues or batch.step < self.queue["start"] * batch.steps:
            return None
        if batch.step * self.batch_size < self.queue["size"]:
            return None
        return torch.stack([self.prototypes(queue.rows) for queue in self.queues])

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.dino(len(self.prototypes.weight))}
