"""KoLeo: features of different images are pushed away from their nearest neighbours.

Sablayrolles et al. 2019, "Spreading vectors for similarity search", arXiv:1806.03198; beside DINO's loss in
Oquab et al. 2023, "DINOv2", arXiv:2304.07193.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.methods.batch import Batch
from selfsup.objectives import koleo


class KoLeo(nn.Module):
    """The sum of :func:`~selfsup.objectives.koleo` over the features of the first ``views`` views.

    Args:
        encoder: that is trained.
        views: how many, in DINOv2 the two large crops; all where there are fewer.
    """

    def __init__(self, encoder: Encoder, views: int = 2) -> None:
        super().__init__()
        self.views = views

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        return torch.stack([koleo(each) for each in features[: self.views]]).sum()
