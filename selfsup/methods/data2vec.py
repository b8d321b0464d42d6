"""data2vec 2.0: from the visible patches, a teacher's deeper layers of the whole image are predicted.

Baevski et al. 2022, "Efficient Self-supervised Learning with Contextualized Target Representations for
Vision, Speech and Language", arXiv:2212.07525.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder, take
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import TEACHER, Bound, Failure
from selfsup.methods.masking import Masking
from selfsup.methods.parts import Teacher
from selfsup.methods.requirements import require_full_size
from selfsup.objectives import data2vec, data2vec_targets, floors
from selfsup.optim import linear


class Data2Vec(Method):
    """Many masks of an image share one pass of the teacher; a convolutional decoder fills the grid.

    Where the published code has noise in the place of a hidden patch, its standard deviation is 0.01.

    Args:
        mask_ratio: share of the patches that are hidden.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        masks: of one image in a step.
        layers: blocks of the teacher, counted from its end, whose mean is predicted; None for two thirds.
        class_weight: of the class token's loss; the paper's .01 counts a sum over a batch of 4,096 masked
            images beside the mean of the patches.
        decoder: ``width``, ``depth``, ``kernel`` and ``groups`` of its convolutions.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a line.
    """

    failures = (
        TEACHER,
        Failure(
            "collapsed targets",
            (Bound("target_std", below=0.3, of_start=True), Bound("loss_trivial", below=0.1)),
            "the teacher's tokens hardly differ between images (std {target_std:.2g}) since step {since}",
            "check that the targets get no gradient, or raise method.momentum.start",
            patience=1,
        ),
    )

    def __init__(
        self,
        *,
        mask_ratio: float,
        masking: str,
        masks: int,
        layers: int | None,
        class_weight: float,
        decoder: Mapping[str, int],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "data2vec")
        self.mask = Masking(masking, mask_ratio, self.encoder.grid, "data2vec")
        blocks = self.encoder.model.blocks
        if not all(hasattr(block, "mlp") for block in blocks):
            raise UsageError(
                "data2vec predicts what the feed-forward layer of each block adds, and the blocks of "
                f"'{self.encoder.recipe['name']}' have none of their own; take another, such as vit_tiny"
            )
        depth = len(blocks)
        self.masks, self.layers, self.class_weight = masks, layers or math.ceil(2 * depth / 3), class_weight
        if self.layers > depth:
            raise UsageError(
                f"method.layers is {self.layers}, and the backbone has {depth} blocks; take {depth} or fewer"
            )
        self.decoder = Decoder(self.encoder.dim, self.encoder.grid, **decoder)
        self.predict_class = nn.Linear(self.encoder.dim, self.encoder.dim) if self.has_class else None
        self.teacher = Teacher(self.encoder, momentum, schedule=linear, buffers=True)

    @property
    def has_class(self) -> bool:
        """Whether a class token takes part."""
        return self.encoder.prefix > 0 and self.class_weight > 0

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        target = self.answer(images)
        keep, hidden = self.mask(self.masks * len(images), batch)
        # Equally many are hidden of every image.
        places = hidden.int().argsort(dim=1, stable=True, descending=True)[
            :, : hidden.shape[1] - keep.shape[1]
        ]
        repeated = images.repeat(self.masks, 1, 1, 1)
        sequence = self.encoder.sequence(repeated, keep)
        target = target.repeat(self.masks, 1, 1)
        noise = 0.01 * batch.normal(*target.shape)
        prediction = take(self.decoder(sequence[:, self.encoder.prefix :], keep, noise), places)
        loss = data2vec(prediction, take(target, places))
        if self.predict_class is not None:
            loss = loss + self.class_weight * data2vec(self.predict_class(sequence[:, 0]), target.mean(dim=1))
        return Output(loss, scalars={"target_std": target.std(dim=0).mean()})

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Targets ``(N, L, D)``: the mean of what the last blocks' feed-forward layers add, normalised."""
        encoder, found = self.learned_encoder(), []
        hooks = [
            block.mlp.register_forward_hook(lambda *call: found.append(call[2]))
            for block in encoder.model.blocks[-self.layers :]
        ]
        encoder.sequence(images)
        for hook in hooks:
            hook.remove()
        return data2vec_targets(torch.stack([each[:, -math.prod(encoder.grid) :].float() for each in found]))

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        return {"hidden": self.mask(len(batch.views) * len(batch), batch)[1]}

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.module
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        target = self.answer(batch.views[0])
        return {"backbone": self.learned_encoder()(batch.views[0]), "target_std": target.std(dim=0).mean()}

    def marks(self) -> dict[str, float]:
        images = floors.data2vec(self.encoder.dim)
        return {} if self.has_class else {"trivial": images}


class Decoder(nn.Module):
    """Convolutions over the grid of patches, of which the hidden ones begin as faint noise.

    Args:
        dim: of the tokens, in and out.
        grid: rows and columns of patches.
        width, depth, kernel, groups: of the convolutions; from the second on each has a residual path.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], *, width: int, depth: int, kernel: int, groups: int
    ) -> None:
        super().__init__()
        if width % groups or dim % groups:
            raise UsageError(
                f"method.decoder.groups is {groups}, which does not divide {width} and {dim}, widths of the "
                f"decoder and the backbone; take a common divisor, such as 1"
            )
        if kernel % 2 == 0:
            raise UsageError(f"method.decoder.kernel is {kernel}; take an odd number, such as 3")
        self.grid = grid
        self.convolutions = nn.ModuleList(
            nn.Conv2d(dim if layer == 0 else width, width, kernel, padding=kernel // 2, groups=groups)
            for layer in range(depth)
        )
        self.norm = nn.GroupNorm(1, width, affine=False)
        self.project = nn.Linear(width, dim)

    def forward(self, visible: Tensor, keep: Tensor, noise: Tensor) -> Tensor:
        """Tokens ``(N, L, D)`` from visible ones ``(N, K, D)`` at ``keep`` ``(N, K)`` and noise elsewhere."""
        tokens = noise.to(visible.dtype).scatter(1, keep.unsqueeze(-1).expand_as(visible), visible)
        x = tokens.transpose(1, 2).unflatten(2, self.grid)
        for number, convolution in enumerate(self.convolutions):
            y = nn.functional.gelu(self.norm(convolution(x)))
            x = y if number == 0 else x + y
        return self.project(x.flatten(2).transpose(1, 2))
