"""MSN: from a view without some of its patches, the prototypes are predicted that a teacher sees in another.

Assran et al. 2022, "Masked Siamese Networks for Label-Efficient Learning", arXiv:2204.07141.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightly.models.modules.heads import MSNProjectionHead
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import DIMENSIONS, ONE_PROTOTYPE, SAME_VIEW, TEACHER, TRIVIAL
from selfsup.methods.masking import Masking
from selfsup.methods.parts import Prototypes, Teacher
from selfsup.methods.requirements import large_views, require_views
from selfsup.objectives import floors, msn
from selfsup.optim import linear


class MSN(Method):
    """The first view is the teacher's; the others are the student's, large ones without some patches.

    Args:
        mask_ratio: share of the patches that the student's large views lose.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
        temperature: of the predictions.
        sharpening: of the targets, as a share of the temperature.
        balancing: rounds of balancing the targets over the prototypes; 0 for none.
        regularization: weight of the term that keeps all prototypes in use.
        prototypes: their number.
        projector: ``hidden`` and ``out`` widths.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a line.
    """

    failures = (
        TEACHER,
        SAME_VIEW,
        DIMENSIONS,
        TRIVIAL,
        replace(ONE_PROTOTYPE, remedy="raise method.regularization, or balance by method.balancing=3"),
    )

    def __init__(
        self,
        *,
        mask_ratio: float,
        masking: str,
        temperature: float,
        sharpening: float,
        balancing: int,
        regularization: float,
        prototypes: int,
        projector: Mapping[str, int],
        momentum: Mapping[str, float],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "msn")
        self.large = large_views(self.views, "msn")
        grid = self.encoder.grid_of(max(self.views.sizes))
        self.mask = Masking(masking, mask_ratio, grid, "msn")
        self.temperature, self.sharpening, self.balancing = temperature, sharpening, balancing
        self.regularization = regularization
        self.projector = MSNProjectionHead(self.encoder.dim, projector["hidden"], projector["out"])
        self.prototypes = Prototypes(projector["out"], prototypes)
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum, schedule=linear)

    def loss(self, batch: Batch) -> Output:
        target = self.teacher(batch.views[0])
        masked, small = batch.views[1 : self.large], batch.views[self.large :]
        features = [self.encoder(views) for views in by_size(small)]
        if masked:
            keep, _ = self.mask(len(masked) * len(batch), batch)
            features.insert(0, self.encoder.pool(self.encoder.sequence(torch.cat(list(masked)), keep)))
        seen = torch.cat(features)
        anchors = self.projector(seen).unflatten(0, (len(batch.views) - 1, -1))
        loss = msn(
            anchors,
            target,
            self.prototypes.weight,
            self.temperature,
            self.sharpening,
            self.balancing,
            self.regularization,
        )
        return Output(loss, seen.chunk(len(anchors)), of=range(1, len(batch.views)))

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        if self.large < len(batch.views):
            return {}  # small views have fewer patches
        _, hidden = self.mask((self.large - 1) * len(batch), batch)
        return {"hidden": torch.cat([torch.zeros_like(hidden[: len(batch)]), hidden])}

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.copy_of(self.encoder)
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        encoder, projector = self.teacher.module.children()
        features, student = encoder(batch.views[0]), self.projector(self.encoder(batch.views[0]))
        teacher = self.prototypes(projector(features)) / (self.temperature * self.sharpening)
        return {
            "backbone": features,
            "embedding": student,
            "teacher": teacher.softmax(dim=-1),
            "student": (self.prototypes(student) / self.temperature).softmax(dim=-1),
        }

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.msn(len(self.prototypes.weight))}
