"""I-JEPA: from a block of an image, the representations of other blocks are predicted.

Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive
Architecture", arXiv:2301.08243.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from torch import Tensor
from torch.nn.functional import cosine_similarity, layer_norm

from selfsup.encoder import Encoder, take
from selfsup.errors import UsageError
from selfsup.methods.base import Method, require_full_size, require_heads
from selfsup.objectives import block_masks, floors, latent_prediction
from selfsup.optim import linear, update_average


class JEPA(Method):
    """A narrow predictor, told positions only, guesses the teacher's tokens of the target blocks.

    Args:
        predictor: ``width``, ``depth`` and ``heads`` of the predictor.
        masks: settings of :func:`selfsup.objectives.block_masks`; ``faithful`` gives the published
            sampler with its quirks.
        momentum: of the teacher: ``start`` and ``end``, along a line.
    """

    def __init__(
        self,
        *,
        predictor: Mapping[str, int],
        masks: Mapping[str, Any],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "jepa")
        self.masks, self.momentum = masks, momentum
        rows, columns = self.encoder.grid
        try:
            block_masks(1, (rows, columns), torch.Generator(), **masks)
        except ValueError as error:
            raise UsageError(f"method.masks do not work on {rows} x {columns} patches: {error}") from error
        require_heads("method.predictor", predictor)
        self.predictor = IJEPAPredictorTIMM(
            rows * columns,
            predictor["depth"],
            self.encoder.dim,
            predictor["width"],
            predictor["heads"],
        )
        torch.nn.init.trunc_normal_(self.predictor.decoder.mask_token, std=0.02)
        self.teacher = deepcopy(self.encoder).requires_grad_(False)

    def loss(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        images = torch.cat(list(views))
        context, targets = self.blocks(len(images), self.generator())
        context, targets = context.to(images.device), targets.to(images.device)
        with torch.no_grad():
            teacher = self.teacher.tokens(images).float()
            target = torch.cat([take(teacher, block) for block in targets])
        visible = self.encoder.tokens(images, keep=context)
        prediction = self.predictor(visible, [context], list(targets))
        spread = teacher.std(dim=0).mean()
        return latent_prediction(prediction, target), {"target_std": spread}

    def blocks(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Patches of the context ``(n, K)`` and of the targets ``(T, n, K')``."""
        return block_masks(n, self.encoder.grid, generator, **self.masks)

    def regions(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        context, targets = self.blocks(n, generator)
        nothing = torch.zeros(n, math.prod(self.encoder.grid), dtype=torch.bool)
        named = {"context": context} | {f"target {k}": block for k, block in enumerate(targets, 1)}
        return {name: nothing.scatter(1, patches, True) for name, patches in named.items()}

    def after_step(self) -> None:
        momentum = linear(self.global_step, self.total_steps, self.momentum["start"], self.momentum["end"])
        update_average(self.teacher, self.encoder, momentum)

    def learned_encoder(self) -> Encoder:
        return self.teacher

    def average(self) -> Encoder:
        return self.teacher

    def observe(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        teacher = self.teacher.tokens(views[0]).float()
        # Half the images do for the predictor, and one mask for all: predictions then differ by what was
        # seen, not by where.
        images = views[0][: -(-len(views[0]) // 2)]
        context, targets = block_masks(1, self.encoder.grid, torch.Generator().manual_seed(0), **self.masks)
        context, block = (m.to(images.device).expand(len(images), -1) for m in (context, targets[0]))
        target, visible = take(teacher[: len(images)], block), self.encoder.tokens(images, keep=context)
        own, another = (
            latent_prediction(self.predictor(tokens, [context], [block]), target)
            for tokens in (visible, visible.roll(1, 0))
        )
        return {
            "backbone": teacher.mean(dim=1),
            "target_std": teacher.std(dim=0).mean(),
            "context_gain": another / own - 1,
        }

    def pictures(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        images, (rows, columns) = views[0], self.encoder.grid
        context, targets = block_masks(
            len(images), (rows, columns), torch.Generator().manual_seed(0), **self.masks
        )
        context, targets = context.to(images.device), targets.to(images.device)
        teacher = self.teacher.tokens(images).float()
        prediction = self.predictor(self.encoder.tokens(images, keep=context), [context], list(targets))
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
