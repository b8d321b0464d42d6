"""SimCLR: two views of an image attract each other, all other views of the batch repel.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv:2002.05709.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from selfsup.methods.base import Method, by_size, require_views
from selfsup.objectives import floors, nt_xent


class SimCLR(Method):
    """NT-Xent over all views of the global batch, through a projector with batch norm.

    Args:
        temperature: of the similarities.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the projector.
    """

    def __init__(self, *, temperature: float, projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "simclr")
        self.temperature = temperature
        self.projector = SimCLRProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )

    @property
    def whole_batch(self) -> bool:
        return True

    def loss(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        features = torch.cat([self.encoder(batch) for batch in by_size(views)])
        embeddings = self.projector(features).chunk(len(views))
        pairs = list(combinations(embeddings, 2))
        loss = torch.stack([nt_xent(one, other, self.temperature) for one, other in pairs]).mean()
        positive = torch.cosine_similarity(*pairs[0]).mean()
        return loss, {"positive_similarity": positive.detach()}

    def observe(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.encoder(views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.nt_xent(self.batch_size)}
