"""SimCLR: the views of an image, or of images that belong together, attract each other; all others repel.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv:2002.05709.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TRIVIAL
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors, nt_xent, sup_con


class SimCLR(Method):
    """NT-Xent over all views of the global batch, through a projector with batch norm.

    Where it is known which images belong together (``positives=``), all their views attract, as SupCon's do.

    Args:
        temperature: of the similarities.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the projector.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL)
    related = True

    def __init__(self, *, temperature: float, projector: Mapping[str, int], **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "simclr")
        self.temperature = temperature
        self.projector = SimCLRProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )

    def loss(self, batch: Batch) -> Output:
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        embeddings = self.projector(features).chunk(len(batch.views))
        pairs = list(combinations(embeddings, 2))
        if (positives := batch.positives) is None:
            loss = torch.stack([nt_xent(one, other, self.temperature) for one, other in pairs]).mean()
        else:
            loss = sup_con(torch.stack(embeddings), positives, self.temperature)
        positive = torch.cosine_similarity(*pairs[0]).mean()
        return Output(loss, features.chunk(len(batch.views)), {"positive_similarity": positive.detach()})

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        if self.relation is None:
            return {"trivial": floors.nt_xent(self.batch_size)}
        return {"trivial": floors.sup_con(len(self.views) * self.batch_size)}
