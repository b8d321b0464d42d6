"""SparK: a convolutional network sees a part of an image, and the rest is painted in from its maps.

Tian et al. 2023, "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked Modeling",
arXiv:2301.03580.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.mae import MAE, painted
from selfsup.methods.requirements import require_full_size, require_mask, require_maskable
from selfsup.methods.unet import UNet
from selfsup.objectives import floors, masked_reconstruction, patchify, random_mask


class SparK(Method):
    """No operation of the encoder sees hidden cells; a U-Net takes its maps of all sizes.

    A cell is what the encoder makes one place of its smallest map.

    Args:
        mask_ratio: share of the cells that are hidden.
        normalize: whether each cell of the target is normalised by its own mean and variance.
        decoder: ``width`` of the decoder at the smallest map.
    """

    failures = MAE.failures

    def __init__(
        self, *, mask_ratio: float, normalize: bool, decoder: Mapping[str, int], **common: Any
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "spark", "mae")
        stages, size = require_maskable(self.encoder, "spark"), self.encoder.input_size
        self.side = stages[-1][1]
        require_mask(mask_ratio, (self.side, self.side), "spark")
        self.mask_ratio, self.normalize, self.cell = mask_ratio, normalize, size // self.side
        self.decoder = UNet(stages, decoder["width"], size)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        hidden = self.hide(len(images), batch.generator, images.device)
        prediction = patchify(self.paint(images, hidden), self.cell)
        target = patchify(images, self.cell)
        return Output(masked_reconstruction(prediction, target, hidden, normalize=self.normalize))

    def hide(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Which cells of the images are hidden ``(n, L)``."""
        return random_mask(n, self.side**2, self.mask_ratio, generator)[1].to(device)

    def paint(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Images ``(N, 3, size, size)`` made of what is not hidden of others."""
        visible = ~hidden.unflatten(1, (self.side, self.side))
        painting: Tensor = self.decoder(self.encoder.maps(images, visible), visible)
        return painting

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        return {"hidden": self.hide(len(batch.views) * len(batch), batch.generator, batch.device)}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        hidden = self.hide(len(images), batch.generator, images.device)
        prediction = patchify(self.paint(images, hidden), self.cell)
        return painted(images, prediction, hidden, self.cell, self.normalize)

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.masked_reconstruction(3 * self.cell**2)} if self.normalize else {}
