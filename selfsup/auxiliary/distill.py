"""Self-distillation: features stay near those of a frozen encoder, against over-fitting to few images.

Lee et al. 2022, "Self-Distillation for Further Pre-training of Transformers", arXiv:2210.02871: an encoder
that was trained further is the teacher of a second training from the same weights.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder, start_from
from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.methods.parts import Frozen
from selfsup.objectives import all_reduce_mean


class Distill(nn.Module):
    """The mean squared difference of the features from a teacher's, over dimensions, samples and views.

    Args:
        encoder: that is trained.
        teacher: a run, folder, file or name of an encoder of the same width; None for the encoder
            as it begins.

    Raises:
        UsageError: the teacher has another width, or other means.
    """

    def __init__(self, encoder: Encoder, teacher: str | None) -> None:
        super().__init__()
        start = deepcopy(encoder) if teacher is None else start_from(teacher, encoder.input_size)
        if (start.dim, start.mean, start.std) != (encoder.dim, encoder.mean, encoder.std):
            raise UsageError(
                f"auxiliary.distill.teacher={teacher} has {start.dim} features of images normalised by "
                f"{start.mean}, the encoder {encoder.dim} by {encoder.mean}; take one that began from the "
                "same weights, or method=distill"
            )
        self.teacher = Frozen(start)

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        pairs = zip(features, batch.views, strict=True)
        each = [(mine.float() - self.teacher(view).float()).square().mean() for mine, view in pairs]
        return all_reduce_mean(torch.stack(each).mean())
