"""I-JEPA: from a block of an image, the representations of other blocks are predicted.

Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive
Architecture", arXiv:2301.08243.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, layer_norm

from selfsup.encoder import Encoder, take
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.decoders import jepa_predictor
from selfsup.methods.failures import TEACHER, Bound, Failure
from selfsup.methods.parts import Teacher
from selfsup.methods.requirements import require_full_size, require_heads
from selfsup.objectives import block_masks, floors, latent_prediction
from selfsup.objectives.devices import sent
from selfsup.optim import linear


class JEPA(Method):
    """A narrow predictor, told positions only, guesses the teacher's tokens of the target blocks.

    Args:
        predictor: ``width``, ``depth`` and ``heads`` of the predictor.
        masks: settings of :func:`selfsup.objectives.block_masks`; ``faithful`` gives the published
            sampler with its quirks.
        momentum: of the teacher: ``start`` and ``end``, along a line.
    """

    failures: tuple[Failure, ...] = (
        TEACHER,
        Failure(
            "collapsed targets",
            (Bound("target_std", below=0.5, of_start=True), Bound("loss_trivial", below=0.1)),
            "the teacher's tokens hardly differ between images (std {target_std:.2g}) since step {since}",
            "check that the targets get no gradient, or raise method.momentum.start",
            patience=1,
        ),
        Failure(
            "position-only prediction",
            (Bound("context_gain", below=0.02), Bound("loss_trivial", below=0.5)),
            "the predictor does not use what it sees: another image's context makes its loss only "
            "{context_gain:.1%} worse, since step {since}",
            "normalise the images (data.mean, data.std), or give the patch embedding more weight against the "
            "positions",
            patience=4,
            from_step=400,
        ),
    )

    def __init__(
        self,
        *,
        predictor: Mapping[str, int],
        masks: Mapping[str, Any],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, type(self).__name__.lower(), "jepa")
        self.masks = masks
        rows, columns = self.encoder.grid
        try:
            block_masks(1, (rows, columns), torch.Generator(), **masks)
        except ValueError as error:
            raise UsageError(f"method.masks do not work on {rows} x {columns} patches: {error}") from error
        require_heads("method.predictor", predictor)
        self.predictor = jepa_predictor((rows, columns), self.encoder.dim, **predictor)
        torch.nn.init.trunc_normal_(self.predictor.decoder.mask_token, std=0.02)
        self.teacher = Teacher(self.encoder, momentum, schedule=linear, buffers=True)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        context, targets = self.blocks(len(images), batch.generator, images.device)
        teacher = self.answer(images)
        target = torch.cat([take(teacher, block) for block in targets])
        visible = self.encoder.tokens(images, keep=context)
        prediction = self.predict(visible, context, targets, batch)
        spread = teacher.std(dim=0).mean()
        return Output(latent_prediction(prediction, target), scalars={"target_std": spread})

    def predict(self, visible: Tensor, context: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Predicted tokens ``(T N, K', D)`` of target blocks ``(T, N, K')`` from those of the context."""
        return self.predictor(visible, [context], list(targets))

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """The teacher's tokens ``(N, L, D)`` of whole images."""
        return self.learned_encoder().tokens(images).float()

    def blocks(self, n: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Patches of the context ``(n, K)`` and of the targets ``(T, n, K')``."""
        context, targets = block_masks(n, self.encoder.grid, generator, **self.masks)
        return sent(context, device), sent(targets, device)

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        n = len(batch.views) * len(batch)
        context, targets = self.blocks(n, batch.generator, batch.device)
        nothing = torch.zeros(n, math.prod(self.encoder.grid), dtype=torch.bool, device=batch.device)
        named = {"context": context} | {f"target {k}": block for k, block in enumerate(targets, 1)}
        return {name: nothing.scatter(1, patches, True) for name, patches in named.items()}

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.module
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        teacher = self.answer(batch.views[0])
        # Half the images do for the predictor, and one mask for all: predictions then differ by what was
        # seen, not by where.
        images = batch.views[0][: -(-len(batch) // 2)]
        context, targets = self.blocks(1, batch.generator, batch.device)
        context, block = (each.expand(len(images), -1) for each in (context, targets[0]))
        target, visible = take(teacher[: len(images)], block), self.encoder.tokens(images, keep=context)
        own, another = (
            latent_prediction(self.predict(tokens, context, block.unsqueeze(0), batch), target)
            for tokens in (visible, visible.roll(1, 0))
        )
        return {
            "backbone": teacher.mean(dim=1),
            "target_std": teacher.std(dim=0).mean(),
            "context_gain": another / own - 1,
        }

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images, (rows, columns) = batch.views[0], self.encoder.grid
        context, targets = self.blocks(len(images), batch.generator, images.device)
        teacher = self.answer(images)
        prediction = self.predict(self.encoder.tokens(images, keep=context), context, targets, batch)
        seen = images.new_zeros(len(images), rows * columns).scatter(1, context, 1.0)
        alike = images.new_full((len(images), rows * columns), torch.nan)
        for block, predicted in zip(targets, prediction.float().chunk(len(targets)), strict=True):
            target = layer_norm(take(teacher, block), teacher.shape[-1:])
            alike.scatter_(1, block, cosine_similarity(predicted, target, dim=-1))
        shape, side = (rows, columns), self.encoder.patch_size
        mask = seen.unflatten(1, shape).repeat_interleave(side, 1).repeat_interleave(side, 2)
        return {
            "The image": images,
            "What the encoder sees": images * mask.unsqueeze(1),
            "Predicted tokens: yellow if like the true ones, blue if not; white where none was asked for": (
                alike.unflatten(1, shape)
            ),
        }

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.latent_prediction()}
