"""DINO: a student matches, from any crop, what its own moving average says of the large crops.

Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", arXiv:2104.14294; balanced
targets as in Oquab et al. 2023, "DINOv2", arXiv:2304.07193.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import ONE_PROTOTYPE, SAME_VIEW, TEACHER, UNIFORM_TEACHER
from selfsup.methods.parts import Centre, FrozenAtFirst, Teacher
from selfsup.methods.requirements import large_views, require_views
from selfsup.objectives import dino, dino_center, floors, swav
from selfsup.optim import linear, part


class DINO(Method):
    """Multi-crop, a centred and sharpened teacher, and a weight-normed last layer frozen at first.

    The teacher sees the views of the largest size; the student sees all.

    Args:
        head: ``hidden``, ``bottleneck`` and ``out`` (prototypes) widths, ``norm_last_layer``
            (whether the last layer's norms stay 1), ``batch_norm`` (in the hidden layers).
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's: ``start``, ``end``, and ``warmup``, the share of the
            run in which it gets from one to the other.
        momentum: of the teacher: ``start`` and ``end``, along a cosine.
        centering: what keeps one prototype from winning everywhere: ``mean``, a running mean that is taken
            off the teacher's outputs, or ``sinkhorn``, which gives the samples of a batch to all alike and
            so needs them together.
        center_momentum: of the running mean.
        freeze_last_layer: share of the run in which the last layer is not updated.
    """

    failures = (TEACHER, SAME_VIEW, UNIFORM_TEACHER, ONE_PROTOTYPE)

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        student_temperature: float,
        teacher_temperature: Mapping[str, float],
        momentum: Mapping[str, float],
        centering: str,
        center_momentum: float,
        freeze_last_layer: float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        name = type(self).__name__.lower()
        require_views(self.views, 2, name, "dino")
        self.large = large_views(self.views, name)
        if centering not in ("mean", "sinkhorn"):
            raise UsageError(f"method.centering is mean or sinkhorn, got '{centering}'")
        self.centering = centering
        self.head = self.make_head(head)
        self.teacher = Teacher(nn.Sequential(self.encoder, self.head), momentum)
        self.center = Centre(head["out"], center_momentum)
        self.held = FrozenAtFirst(self.head.last_layer, freeze_last_layer)
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature

    def make_head(self, head: Mapping[str, Any]) -> DINOProjectionHead:
        """A head with these settings."""
        return DINOProjectionHead(
            self.encoder.dim,
            head["hidden"],
            head["bottleneck"],
            head["out"],
            batch_norm=head["batch_norm"],
            norm_last_layer=head["norm_last_layer"],
        )

    def loss(self, batch: Batch) -> Output:
        teacher = self.teacher(torch.cat(list(batch.views[: self.large]))).unflatten(0, (self.large, -1))
        features = torch.cat([self.encoder(views) for views in by_size(batch.views)])
        student = self.head(features).unflatten(0, (len(batch.views), -1))
        temperature = self.temperature(batch)
        if self.centering == "sinkhorn":
            loss = swav(student, teacher, self.student_temperature, temperature)
        else:
            self.center.gather(dino_center(teacher))
            loss = dino(student, teacher, self.center.value, self.student_temperature, temperature)
        return Output(loss, features.chunk(len(batch.views)), {"teacher_temperature": temperature})

    def temperature(self, batch: Batch) -> float:
        """Of the teacher, at this step."""
        warm = self.teacher_temperature
        steps = part(warm["warmup"], batch.steps)
        return linear(batch.step, steps, warm["start"], warm["end"]) if steps else warm["end"]

    def learned_encoder(self) -> Encoder:
        encoder = self.teacher.copy_of(self.encoder)
        assert isinstance(encoder, Encoder)
        return encoder

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        encoder, head = self.teacher.module.children()
        features = encoder(batch.views[0])
        teacher = head(features).float() - self.center.value
        student = self.head(self.encoder(batch.views[0])).float()
        return {
            "backbone": features,
            "embedding": student,
            "teacher": (teacher / self.temperature(batch)).softmax(dim=-1),
            "student": (student / self.student_temperature).softmax(dim=-1),
        }

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.dino(len(self.center.value))}
