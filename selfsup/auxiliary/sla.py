"""SLA: which class an image is of and how it was turned, as one label; it needs labels.

Lee, Hwang and Shin 2020, "Self-supervised Label Augmentation via Input Transformations", arXiv:1910.05872.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.methods.batch import Batch
from selfsup.objectives import all_reduce_sum, sla_aggregate, sla_distill, sla_joint
from selfsup.views.image.view import TURNS


class Sla(nn.Module):
    """The joint loss of all views, and a second head that learns from upright ones what all say together.

    ::

        sla_joint(joint(f), label, turn) + distill (CE(single(f), label) + T^2 KL(together || single(f)))

    The paper turns each image in all four ways; here each view is turned at random, as the method sees it,
    and an image's views together are :func:`~selfsup.objectives.sla_aggregate` of those that it has.

    Args:
        encoder: that is trained.
        classes: of the labels, which the run counts.
        turn: how all views are turned: whole.
        distill: weight of the second head's loss, 1 in the paper; 0 leaves the head out.
        temperature: T, of the distillation.
    """

    def __init__(self, encoder: Encoder, classes: int, turn: str, distill: float, temperature: float) -> None:
        super().__init__()
        self.ways = TURNS[turn]
        self.joint = nn.Linear(encoder.dim, classes * self.ways)
        self.single = nn.Linear(encoder.dim, classes) if distill else None
        self.distill, self.temperature = distill, temperature

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        assert batch.labels is not None
        seen = torch.stack(list(features))
        turns = torch.stack([batch.drawn(k)["turn"] for k in range(len(seen))])
        labels = batch.labels.expand(len(seen), -1)
        logits = self.joint(seen)
        loss = sla_joint(logits.flatten(0, 1), labels.flatten(), turns.flatten(), self.ways)
        if self.single is None:
            return loss
        upright = (turns == 0).flatten().to(loss.dtype)
        weight = upright / all_reduce_sum(upright.sum()).clamp(min=1)
        single = self.single(seen).flatten(0, 1)
        told = F.cross_entropy(single.float(), labels.flatten(), reduction="none")
        together = sla_aggregate(logits, turns, self.ways).repeat(len(seen), 1)
        distilled = sla_distill(single, together, self.temperature, weight)
        return loss + self.distill * (all_reduce_sum((weight * told).sum()) + distilled)

    @torch.no_grad()
    def classify(self, encoder: Encoder, images: Tensor, together: bool = True) -> Tensor:
        """Class logits ``(N, C)`` of upright square images ``(N, 3, side, side)``, normalised.

        Args:
            encoder: that was trained with it.
            together: of the four turns together, which are four passes; else of the second head, one pass.

        Raises:
            ValueError: there is no second head.
        """
        if not together:
            if self.single is None:
                raise ValueError("there is no second head, as distill is 0")
            logits: Tensor = self.single(encoder(images))
            return logits
        turned = [self.joint(encoder(torch.rot90(images, quarter, (2, 3)))) for quarter in range(self.ways)]
        quarters = torch.arange(self.ways, device=images.device)[:, None].expand(-1, len(images))
        return sla_aggregate(torch.stack(turned), quarters, self.ways)
