"""How a view was turned, told from its features: rotation prediction and LoRot.

Whole views: Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations",
arXiv:1803.07728. One quadrant of a view (LoRot-E): Moon et al. 2022, "Tailoring Self-Supervision for
Supervised Learning", arXiv:2207.10023, whose weight of .1 is beside a supervised loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.methods.batch import Batch
from selfsup.objectives import cross_entropy
from selfsup.views.image.view import TURNS


class Turns(nn.Module):
    """The cross-entropy of a linear head that says how each view was turned; the mean is over views.

    Features that know nothing have the value log 4 of whole turns, log 16 of quadrants. The least is 0 of
    whole turns and log(4) / 4 of quadrants: a quarter of those are turned by nothing, and so show not which
    they are.

    Args:
        encoder: that is trained.
        turn: how all views are turned, whole or quadrant.
    """

    def __init__(self, encoder: Encoder, turn: str) -> None:
        super().__init__()
        self.head = nn.Linear(encoder.dim, TURNS[turn])

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        turns = torch.cat([batch.drawn(k)["turn"] for k in range(len(features))])
        return cross_entropy(self.head(torch.cat(list(features))), turns)
