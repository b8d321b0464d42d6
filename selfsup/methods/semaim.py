"""SemAIM: patches are predicted one after another, outwards from the one that says most of the image.

Yang et al. 2023, "Semantic-Aware Autoregressive Image Modeling for Visual Representation Learning",
arXiv:2312.08457.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.encoder.positions import sincos_positions
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import TEACHER, Bound, Failure
from selfsup.methods.parts import Teacher
from selfsup.methods.queries import QueryBlock
from selfsup.methods.requirements import require_full_size, require_heads
from selfsup.objectives import byol, semantic_order
from selfsup.optim import linear


class SemAIM(Method):
    """Two streams: patches attend to those of their turn and before; queries know their place alone.

    The order begins at the patch that a teacher's class token is most like, and goes outwards. A query
    attends to what the encoder's blocks say of earlier patches, and predicts the direction of the teacher's
    token at its place. Of the paper's targets these are the moving average's.

    Args:
        predictor: ``heads`` of the blocks of the queries, of which there is one for each of the encoder's.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a line.
    """

    failures = (
        TEACHER,
        Failure(
            "collapsed targets",
            (Bound("target_std", below=0.3, of_start=True),),
            "the teacher's tokens hardly differ between images (std {target_std:.2g}) since step {since}",
            "check that the targets get no gradient, or raise method.momentum.start",
        ),
    )

    places: Tensor

    def __init__(self, *, predictor: Mapping[str, int], momentum: Mapping[str, float], **common: Any) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "semaim")
        if not self.encoder.prefix:
            raise UsageError("semaim orders patches by a class token; take method.class_token=true")
        width = self.encoder.dim
        require_heads("method.predictor", {"width": width, **predictor})
        blocks = [QueryBlock(width, predictor["heads"]) for _ in self.encoder.model.blocks]
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.register_buffer("places", sincos_positions(self.encoder.grid, width))
        self.teacher = Teacher(self.encoder, momentum, schedule=linear, buffers=True)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        target = self.answer(images)
        order = self.order(target, batch.generator)
        prediction = self.predict(images, order)
        patches = target[:, self.encoder.prefix :]
        loss = byol(prediction.flatten(0, 1), patches.flatten(0, 1))
        return Output(loss, scalars={"target_std": patches.std(dim=0).mean()})

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """The teacher's tokens ``(N, P + L, D)`` of whole images."""
        return self.learned_encoder().sequence(images).float()

    def order(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """When each patch has its turn, ``(N, L)``."""
        patches = target[:, self.encoder.prefix :]
        ties = torch.rand(patches.shape[:2], generator=generator).to(target.device)
        return semantic_order(target[:, 0], patches, self.encoder.grid, ties)

    def predict(self, images: Tensor, order: Tensor) -> Tensor:
        """Predicted tokens ``(N, L, D)``, each from the class token and the patches before it."""
        turn, others = order.unsqueeze(2), order.unsqueeze(1)
        prefix = self.encoder.prefix
        # The prefix sees itself alone, or it would carry late patches to early ones; all see it.
        attends = F.pad(others <= turn, (prefix, 0, prefix, 0))
        attends[:, :, :prefix] = True
        earlier = F.pad(others < turn, (prefix, 0), value=True)
        queries: Tensor = self.places.expand(len(images), -1, -1)
        for block, said in zip(self.blocks, self.encoder.layers(images, attends), strict=True):
            queries = block(queries, said, earlier)
        return self.head(queries)

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.module
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        patches = self.answer(batch.views[0])[:, self.encoder.prefix :]
        return {"backbone": self.learned_encoder()(batch.views[0]), "target_std": patches.std(dim=0).mean()}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        order = self.order(self.answer(images), batch.generator).unflatten(1, self.encoder.grid)
        return {
            "The image": images,
            "When each patch has its turn: blue first, yellow last": order / order.amax((1, 2), keepdim=True),
        }
