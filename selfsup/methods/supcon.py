"""SupCon, a baseline with labels: SimCLR in which all views of all images of a class attract each other.

Khosla et al. 2020, "Supervised Contrastive Learning", arXiv:2004.11362.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import TRIVIAL, few_dimensions
from selfsup.objectives import floors, same_class, sup_con


class SupCon(Method):
    """The supervised contrastive loss over all views of the global batch, through SimCLR's projector.

    Args:
        classes: how many there are, which the run counts.
        temperature: of the similarities.
        base_temperature: None for the temperature; a lower one multiplies the loss by their ratio.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the projector.
    """

    def __init__(
        self,
        *,
        classes: int,
        temperature: float,
        base_temperature: float | None,
        projector: Mapping[str, int],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.temperature, self.base_temperature = temperature, base_temperature
        self.projector = SimCLRProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )
        few = (few_dimensions(of, classes) for of in ("backbone", "embedding"))
        self.failures = (TRIVIAL, *few)

    def loss(self, batch: Batch) -> Output:
        assert batch.labels is not None
        views = len(batch.views)
        features = torch.cat([self.encoder(each) for each in by_size(batch.views)])
        embeddings = self.projector(features).unflatten(0, (views, -1))
        positives = same_class(batch.labels)
        loss = sup_con(embeddings, positives, self.temperature, self.base_temperature)
        return Output(loss, features.chunk(views))

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        rows = self.batch_size * len(self.views)
        return {"trivial": floors.sup_con(rows, self.temperature, self.base_temperature)}
