"""SimMIM: a token stands for every hidden patch, and one linear layer paints what was there.

Xie et al. 2022, "SimMIM: A Simple Framework for Masked Image Modeling", arXiv:2111.09886.
"""

from typing import Any

import torch
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import ONE_COLOUR
from selfsup.methods.masking import Masking, of_one_colour, painting
from selfsup.methods.requirements import require_full_size
from selfsup.objectives import masked_reconstruction, patchify


class SimMIM(Method):
    """The encoder computes all patches, of which the hidden ones are a token that knows its position.

    The paper's vision transformer has relative positions; ours keeps those of its backbone. Where patches are
    merged on the way (Swin, Hiera), all patches that make up a place of the last map are hidden together.

    Args:
        mask_ratio: share of the patches that are hidden.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        cell: patches a side of the squares that are hidden as a whole.
    """

    failures = (ONE_COLOUR,)

    def __init__(self, *, mask_ratio: float, masking: str, cell: int, **common: Any) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "simmim")
        self.mask = Masking(masking, mask_ratio, self.encoder.grid, "simmim", cell)
        self.token = nn.Parameter(torch.empty(self.encoder.patch_width))
        nn.init.trunc_normal_(self.token, std=0.02, a=-0.02, b=0.02)
        self.predict = nn.Linear(self.encoder.dim, self.encoder.channels * self.encoder.patch_size**2)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        _, hidden = self.mask(len(images), batch)
        target = patchify(images, self.encoder.patch_size)
        return Output(
            masked_reconstruction(self.paint(images, hidden), target, hidden, normalize=False, power=1.0)
        )

    def paint(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Predicted patches ``(N, L, patch² · C)`` of images without the hidden ones ``(N, L)``."""
        sequence = self.encoder.sequence(images, mask=hidden, token=self.token)
        return self.predict(sequence[:, self.encoder.prefix :])

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        return {"hidden": self.mask(len(batch.views) * len(batch), batch)[1]}

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        _, hidden = self.mask(len(images), batch)
        target = patchify(images, self.encoder.patch_size)
        share = of_one_colour(self.paint(images, hidden), target, hidden)
        return {"backbone": self.encoder(images), "one_colour": share}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        _, hidden = self.mask(len(images), batch)
        return painting(images, self.paint(images, hidden), hidden, self.encoder.patch_size)
