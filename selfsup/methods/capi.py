"""CAPI: from a part of an image, the clusters of hidden patches are predicted, which are found on the way.

Darcet et al. 2025, "Cluster and Predict Latent Patches for Improved Masked Image Modeling", arXiv:2502.08769.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.encoder import Encoder, take
from selfsup.encoder.positions import sincos_positions
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import ONE_PROTOTYPE, TEACHER, UNIFORM_TEACHER
from selfsup.methods.masking import Masking
from selfsup.methods.parts import Prototypes, Teacher
from selfsup.methods.queries import QueryBlock
from selfsup.methods.requirements import require_full_size, require_heads
from selfsup.objectives import capi, floors, sinkhorn
from selfsup.objectives.devices import sent
from selfsup.optim import linear


class CAPI(Method):
    """A teacher's tokens are clustered, in balance at each position; the student predicts the hidden ones'.

    The clustering is a layer of its own, trained by its own loss, from which nothing flows back. (The authors
    train it at half of the rate; here it has that of all.) The paper's vision transformer has rotary
    positions and registers; ours keeps those of its backbone.

    Args:
        mask_ratio: share of the patches that are hidden.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        predicted: share of the hidden patches that are predicted.
        prototypes: clusters; far fewer than the images of a batch over all processes.
        temperature: of predictions and clustering.
        assignment_temperature: of the assignments.
        rounds: of balancing them.
        predictor: ``depth`` and ``heads`` of the blocks of queries.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a line.
    """

    failures = (
        TEACHER,
        UNIFORM_TEACHER,
        # Tokens of an untrained network are all in a few clusters.
        replace(ONE_PROTOTYPE, remedy="lower method.optimizer.lr, or raise the momentum", from_step=200),
    )

    places: Tensor

    def __init__(
        self,
        *,
        mask_ratio: float,
        masking: str,
        predicted: float,
        prototypes: int,
        temperature: float,
        assignment_temperature: float,
        rounds: int,
        predictor: Mapping[str, int],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "capi")
        width, grid = self.encoder.dim, self.encoder.grid
        self.mask = Masking(masking, mask_ratio, grid, "capi")
        self.predicted, self.temperature = predicted, temperature
        self.assignment_temperature, self.rounds = assignment_temperature, rounds
        require_heads("method.predictor", {"width": width, "heads": predictor["heads"]})
        self.blocks = nn.ModuleList(QueryBlock(width, predictor["heads"]) for _ in range(predictor["depth"]))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("places", sincos_positions(grid, width))
        self.prototypes = Prototypes(width, prototypes)
        self.clusters = nn.Linear(width, prototypes)
        nn.init.normal_(self.clusters.weight)
        self.teacher = Teacher(self.encoder, momentum, schedule=linear, buffers=True)

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        clustering = self.clustering(self.answer(images))
        assignments = sinkhorn(
            clustering.detach().transpose(0, 1), self.assignment_temperature, self.rounds
        ).transpose(0, 1)
        keep, asked = self.draw(len(images), batch)
        student = self.prototypes(self.predict(self.encoder.sequence(images, keep), asked))
        prediction = capi(student, take(assignments, asked), self.temperature)
        clusters = capi(clustering, assignments, self.temperature)
        return Output(
            prediction + clusters, scalars={"prediction": prediction.detach(), "clusters": clusters.detach()}
        )

    def draw(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Patches that n images keep ``(n, K)``, and of the hidden ones those to predict ``(n, M)``."""
        keep, hidden = self.mask(n, batch)
        number = max(1, round(self.predicted * (hidden.shape[1] - keep.shape[1])))
        order = sent(torch.rand(hidden.shape, generator=batch.generator), hidden.device)
        return keep, (order + hidden).topk(number, dim=1).indices

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """The teacher's tokens ``(N, L, D)`` of whole images."""
        return self.learned_encoder().tokens(images).float()

    def clustering(self, tokens: Tensor) -> Tensor:
        """Logits ``(N, L, clusters)`` of the teacher's tokens."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.clusters(F.normalize(tokens, dim=-1))

    def predict(self, seen: Tensor, asked: Tensor) -> Tensor:
        """Predicted tokens ``(N, M, D)`` at the patches ``asked`` ``(N, M)``."""
        queries = self.token + self.places[asked]
        for block in self.blocks:
            queries = block(queries, seen)
        return self.norm(queries)

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        n = len(batch.views) * len(batch)
        keep, asked = self.draw(n, batch)
        nothing = torch.zeros(n, len(self.places), dtype=torch.bool, device=batch.device)
        named = {"context": keep, "predicted": asked}
        return {name: nothing.scatter(1, patches, True) for name, patches in named.items()}

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.module
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        tokens = self.answer(batch.views[0])
        found = self.clustering(tokens).flatten(0, 1) / self.assignment_temperature
        return {"backbone": self.learned_encoder()(batch.views[0]), "teacher": found.softmax(dim=-1)}

    def marks(self) -> dict[str, float]:
        return {"trivial": 2 * floors.capi(len(self.prototypes.weight))}
