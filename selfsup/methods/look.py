"""LOOK, a baseline with labels: an image's class is that of its nearest neighbours in the batch.

Feng et al. 2021, "Rethinking supervised pre-training for better downstream transferring", arXiv:2110.06014.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import few_dimensions
from selfsup.objectives import look


class LOOK(Method):
    """The leave-one-out loss of the global batch, through SimCLR's projector; of several views their mean.

    A class may stay in several clusters, as it has to be near to some of its own alone. The paper looks among
    a queue of a moving average's embeddings; here neighbours are of the batch.

    Args:
        classes: how many there are, which the run counts.
        neighbours: how many vote; all of the batch where it has fewer.
        temperature: of the similarities.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the projector.
    """

    def __init__(
        self,
        *,
        classes: int,
        neighbours: int,
        temperature: float,
        projector: Mapping[str, int],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.neighbours, self.temperature = neighbours, temperature
        self.projector = SimCLRProjectionHead(
            self.encoder.dim, projector["hidden"], projector["out"], projector["layers"]
        )
        self.failures = tuple(few_dimensions(of, classes) for of in ("backbone", "embedding"))

    def loss(self, batch: Batch) -> Output:
        assert batch.labels is not None
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        embeddings = self.projector(features).chunk(len(batch.views))
        each = [look(view, batch.labels, self.neighbours, self.temperature) for view in embeddings]
        return Output(torch.stack(each).mean(), features.chunk(len(batch.views)))

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}
