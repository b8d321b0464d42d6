"""SemAIM: patches are predicted one after another, outwards from the one that says most of the image.

Yang et al. 2023, "Semantic-Aware Autoregressive Image Modeling for Visual Representation Learning",
arXiv:2312.08457.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from selfsup.encoder import Encoder
from selfsup.encoder.positions import sincos_positions
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import TEACHER, Bound, Failure
from selfsup.methods.mae import MAE
from selfsup.methods.parts import Teacher
from selfsup.methods.queries import QueryBlock
from selfsup.methods.requirements import require_full_size, require_heads
from selfsup.objectives import byol, floors, masked_reconstruction, patchify, semantic_order
from selfsup.objectives.devices import sent
from selfsup.optim import linear

BLUR, SIGMA = 9, 1.0  # pixels: size and width of the kernel by which the target is blurred


class SemAIM(Method):
    """Two streams: patches attend to those of their turn and before; queries know their place alone.

    The order begins at the patch that a teacher's class token is most like, and goes outwards. A query
    attends to what the encoder's blocks say of earlier patches, and predicts the patch at its place: its
    blurred, standardised pixels, or the direction of the teacher's token. The paper's order is that of the
    model itself, its pixels are those of all patches, also of the first one, and its further targets are
    tokens of published encoders.

    Args:
        target: ``"pixels"``, or ``"teacher"`` for its tokens.
        predictor: ``heads`` of the blocks of the queries, of which there is one for each of the encoder's.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a line.
    """

    failures = (
        TEACHER,
        replace(MAE.failures[1], remedy="raise method.optimizer.lr"),
        Failure(
            "collapsed targets",
            (Bound("target_std", below=0.3, of_start=True),),
            "the teacher's tokens hardly differ between images (std {target_std:.2g}) since step {since}",
            "check that the targets get no gradient, or raise method.momentum.start",
        ),
    )

    places: Tensor

    def __init__(
        self, *, target: str, predictor: Mapping[str, int], momentum: Mapping[str, float], **common: Any
    ) -> None:
        super().__init__(**common)
        if target not in ("pixels", "teacher"):
            raise UsageError(f"method.target is pixels or teacher, not '{target}'")
        require_full_size(self.views, self.encoder, "semaim")
        if not self.encoder.prefix:
            raise UsageError("semaim orders patches by a class token; take method.class_token=true")
        width = self.encoder.dim
        require_heads("method.predictor", {"width": width, **predictor})
        blocks = [QueryBlock(width, predictor["heads"]) for _ in self.encoder.model.blocks]
        self.blocks = nn.ModuleList(blocks)
        self.pixels = target == "pixels"
        self.values = self.encoder.channels * self.encoder.patch_size**2  # of a patch
        out = self.values if self.pixels else width
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out)
        )
        self.register_buffer("places", sincos_positions(self.encoder.grid, width))
        self.teacher = Teacher(self.encoder, momentum, schedule=linear, buffers=True)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        target = self.answer(images)
        order = self.order(target, batch.generator)
        prediction = self.predict(images, order)
        patches = target[:, self.encoder.prefix :]
        scalars = {"target_std": patches.std(dim=0).mean()}
        if self.pixels:
            patches = patchify(
                gaussian_blur(images.float(), [BLUR, BLUR], [SIGMA, SIGMA]), self.encoder.patch_size
            )
            later = order > order.amin(dim=1, keepdim=True)  # the first is predicted from nothing
            return Output(masked_reconstruction(prediction, patches, later), scalars=scalars)
        return Output(byol(prediction.flatten(0, 1), patches.flatten(0, 1)), scalars=scalars)

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """The teacher's tokens ``(N, P + L, D)`` of whole images."""
        return self.learned_encoder().sequence(images).float()

    def order(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """When each patch has its turn, ``(N, L)``."""
        patches = target[:, self.encoder.prefix :]
        ties = sent(torch.rand(patches.shape[:2], generator=generator), target.device)
        return semantic_order(target[:, 0], patches, self.encoder.grid, ties)

    def predict(self, images: Tensor, order: Tensor) -> Tensor:
        """Predicted patches ``(N, L, D)``, each from the class token and the patches before it."""
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

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.masked_reconstruction(self.values)} if self.pixels else {}

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
