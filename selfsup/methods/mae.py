"""MAE: an image's missing patches are painted in from the few that are left.

He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.decoders import mae_decoder
from selfsup.methods.failures import Bound, Failure
from selfsup.methods.masking import Masking, painting
from selfsup.methods.requirements import require_full_size, require_heads
from selfsup.objectives import floors, masked_reconstruction, patchify


class MAE(Method):
    """The encoder computes the visible patches only; a light decoder sees them and mask tokens.

    Args:
        mask_ratio: share of the patches that are hidden.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        normalize: whether each patch of the target is normalised by its own mean and variance.
        decoder: ``width``, ``depth`` and ``heads`` of the decoder.
    """

    failures = (
        Failure(
            "mask leak",
            (Bound("loss_trivial", below=0.3),),
            "the loss fell to {loss:.2g} within {since} steps, as if the hidden patches were seen",
            "check that the loss is of hidden patches, and that the encoder does not get them",
            patience=1,
            until_share=0.2,
        ),
        Failure(
            "stuck at the mean",
            (Bound("loss_trivial", above=0.97),),
            "the loss stays at {loss:.3f}, what predicting each patch's mean gives, since step {since}",
            "raise method.optimizer.lr or lower method.mask_ratio",
            patience=4,
            from_step=150,
        ),
    )

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
        require_full_size(self.views, self.encoder, "mae")
        self.mask = Masking(masking, mask_ratio, self.encoder.grid, "mae")
        self.normalize = normalize
        self.patches = math.prod(self.encoder.grid)
        require_heads("method.decoder", decoder)
        self.embed = nn.Linear(self.encoder.dim, decoder["width"])
        self.decoder = mae_decoder(self.encoder.grid, prefix=self.encoder.prefix, **decoder)
        self.predict = nn.Linear(decoder["width"], self.encoder.channels * self.encoder.patch_size**2)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        keep, hidden = self.mask(len(images), batch)
        prediction = self.decode(self.encoder.sequence(images, keep), keep)
        target = patchify(images, self.encoder.patch_size)
        return Output(masked_reconstruction(prediction, target, hidden, normalize=self.normalize))

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        return {"hidden": self.mask(len(batch.views) * len(batch), batch)[1]}

    def decode(self, sequence: Tensor, keep: Tensor) -> Tensor:
        """Predicted patches ``(N, L, patch² · C)`` from the encoder's tokens ``(N, P + K, D)``."""
        sequence = self.embed(sequence)
        prefix, visible = sequence[:, : self.encoder.prefix], sequence[:, self.encoder.prefix :]
        tokens = self.decoder.mask_token.to(visible.dtype).expand(len(visible), self.patches, -1)
        tokens = tokens.scatter(1, keep.unsqueeze(-1).expand_as(visible), visible)
        tokens = self.decoder.add_pos_embed(torch.cat([prefix, tokens], dim=1))
        return self.predict(self.decoder.decode(tokens)[:, self.encoder.prefix :])

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        # Of a quarter of the patches, as in training, at a quarter of the cost.
        keep, _ = self.mask(len(batch), batch)
        return {"backbone": self.encoder.tokens(batch.views[0], keep).mean(dim=1)}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        keep, hidden = self.mask(len(images), batch)
        painted = self.decode(self.encoder.sequence(images, keep), keep)
        return painting(images, painted, hidden, self.encoder.patch_size, self.normalize)

    def marks(self) -> dict[str, float]:
        values = self.predict.out_features
        return {"trivial": floors.masked_reconstruction(values)} if self.normalize else {}
