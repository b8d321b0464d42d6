"""Mixtures of images have features that correlate with the views as mixtures of features do.

The regulariser of Mixed Barlow Twins (Bandara et al. 2023, arXiv:2312.02151), which the paper adds to the
projections of Barlow Twins (``method=mixed_barlow``), on features, and so beside any decorrelating loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.objectives import mixed_barlow
from selfsup.objectives.devices import sent


class Mixed(nn.Module):
    """:func:`~selfsup.objectives.mixed_barlow` of the first view, mixed with other images' second one.

    A process mixes the images that it holds, in one ratio and one order a step, both drawn at random. The
    mixtures are a third pass of the encoder.

    Args:
        encoder: that is trained.

    Raises:
        UsageError: at a step, if a method does not give the features of two views of one size.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.trained = (
            encoder,
        )  # in a tuple it is not a part of this module, whose state would hold it twice

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        if len(features) < 2 or batch.views[0].shape != batch.views[1].shape:
            raise UsageError(
                "auxiliary=mixed mixes two views of one size, and the method gives features of others; take "
                "views=moco, or leave it out"
            )
        first, second = batch.views[:2]
        share = sent(torch.rand(1, generator=batch.generator), first)
        order = sent(torch.randperm(len(batch), generator=batch.generator), batch.device)
        mixture = self.trained[0](torch.lerp(second[order], first, share))
        one, other = features[:2]
        return mixed_barlow(one, other, other[order], mixture, share.to(mixture).expand(len(mixture)))
