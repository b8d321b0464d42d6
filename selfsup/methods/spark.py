"""SparK: a convolutional network sees a part of an image, and the rest is painted in from its maps.

Tian et al. 2023, "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked Modeling",
arXiv:2301.03580.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.mae import MAE
from selfsup.methods.masking import Masking, painting
from selfsup.methods.requirements import require_full_size, require_maskable
from selfsup.methods.unet import UNet
from selfsup.objectives import floors, masked_reconstruction, patchify


class SparK(Method):
    """No operation of the encoder sees hidden cells; a U-Net takes its maps of all sizes.

    A cell is what the encoder makes one place of its smallest map.

    Args:
        mask_ratio: share of the cells that are hidden.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        normalize: whether each cell of the target is normalised by its own mean and variance.
        decoder: ``width`` of the decoder at the smallest map.
    """

    failures = MAE.failures

    def __init__(
        self,
        *,
        mask_ratio: float,
        masking: str,
        normalize: bool,
        decoder: Mapping[str, int],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "spark")
        stages, size = require_maskable(self.encoder, "spark"), self.encoder.input_size
        _, rows, columns = stages[-1]
        self.mask = Masking(masking, mask_ratio, (rows, columns), "spark")
        self.normalize, self.cell = normalize, size[0] // rows
        self.decoder = UNet(stages, decoder["width"], size, self.encoder.channels)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        _, hidden = self.mask(len(images), batch)
        target = patchify(images, self.cell)
        return Output(
            masked_reconstruction(self.paint(images, hidden), target, hidden, normalize=self.normalize)
        )

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        return {"hidden": self.mask(len(batch.views) * len(batch), batch)[1]}

    def paint(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Cells ``(N, L, cell² · C)`` made of those that are not hidden ``(N, L)``."""
        visible = ~hidden.unflatten(1, self.mask.grid)
        return patchify(self.decoder(self.encoder.maps(images, visible), visible), self.cell)

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        _, hidden = self.mask(len(images), batch)
        return painting(images, self.paint(images, hidden), hidden, self.cell, self.normalize)

    def marks(self) -> dict[str, float]:
        values = self.encoder.channels * self.cell**2
        return {"trivial": floors.masked_reconstruction(values)} if self.normalize else {}
