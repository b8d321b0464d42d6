"""DINO: a student matches, from any crop, what its own moving average says of the large crops.

Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", arXiv:2104.14294; balanced
targets as in Oquab et al. 2023, "DINOv2", arXiv:2304.07193.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.base import Method, by_size, require_views
from selfsup.objectives import dino, dino_center, floors, swav
from selfsup.optim import cosine, linear, part, update_average


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

    center: Tensor

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
        require_views(self.views, 2, "dino")
        self.large = self.views.sizes.count(max(self.views.sizes))
        if any(size != max(self.views.sizes) for size in self.views.sizes[: self.large]):
            raise UsageError("dino takes its large views first; list the kinds of views from large to small")
        if centering not in ("mean", "sinkhorn"):
            raise UsageError(f"method.centering is mean or sinkhorn, got '{centering}'")
        self.centering = centering
        self.head: DINOProjectionHead = self._head(head)
        self.teacher_head = self._head(head)
        # The weight-normed layer cannot be deep-copied: its weight is computed, not a parameter.
        self.teacher_head.load_state_dict(self.head.state_dict())
        self.teacher = deepcopy(self.encoder)
        self.teacher.requires_grad_(False)
        self.teacher_head.requires_grad_(False)
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.momentum, self.center_momentum = momentum, center_momentum
        self.freeze_last_layer = freeze_last_layer
        self.register_buffer("center", torch.zeros(head["out"]))

    def _head(self, head: Mapping[str, Any]) -> DINOProjectionHead:
        return DINOProjectionHead(
            self.encoder.dim,
            head["hidden"],
            head["bottleneck"],
            head["out"],
            batch_norm=head["batch_norm"],
            norm_last_layer=head["norm_last_layer"],
        )

    @property
    def temperature(self) -> float:
        """Of the teacher, at this step."""
        warm = self.teacher_temperature
        steps = part(warm["warmup"], self.total_steps)
        return linear(self.global_step, steps, warm["start"], warm["end"]) if steps else warm["end"]

    @property
    def whole_batch(self) -> bool:
        return self.centering == "sinkhorn"

    def loss(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        with torch.no_grad():
            large = torch.cat(list(views[: self.large]))
            teacher = self.teacher_head(self.teacher(large)).unflatten(0, (self.large, -1))
        features = torch.cat([self.encoder(batch) for batch in by_size(views)])
        student = self.head(features).unflatten(0, (len(views), -1))
        temperature = self.temperature
        scalars: dict[str, Tensor | float] = {"teacher_temperature": temperature}
        if self.centering == "sinkhorn":
            return swav(student, teacher, self.student_temperature, temperature), scalars
        self.of_step.add(center=dino_center(teacher))
        return dino(student, teacher, self.center, self.student_temperature, temperature), scalars

    def before_update(self) -> None:
        if self.global_step < self.freeze_last_layer * self.total_steps:
            # None, not zero: an optimizer still decays and carries on a parameter whose gradient is zero.
            for parameter in self.head.last_layer.parameters():
                parameter.grad = None

    def after_step(self) -> None:
        if "center" in self.of_step:
            self.center.lerp_(self.of_step["center"].to(self.center), 1 - self.center_momentum)
        momentum = cosine(self.global_step, self.total_steps, self.momentum["start"], self.momentum["end"])
        # The teacher runs in training mode and so has batch statistics of its own.
        update_average(self.teacher, self.encoder, momentum, buffers=False)
        update_average(self.teacher_head, self.head, momentum, buffers=False)

    def learned_encoder(self) -> Encoder:
        return self.teacher

    def average(self) -> Encoder:
        return self.teacher

    def observe(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.teacher(views[0])
        teacher = self.teacher_head(features).float() - self.center
        student = self.head(self.encoder(views[0])).float()
        return {
            "backbone": features,
            "embedding": student,
            "teacher": (teacher / self.temperature).softmax(dim=-1),
            "student": (student / self.student_temperature).softmax(dim=-1),
        }

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.dino(len(self.center))}
