"""ReSSL: a strongly changed view is as like earlier images as a teacher finds a weakly changed one to be.

Zheng et al. 2021, "ReSSL: Relational Self-Supervised Learning with Weak Augmentation", arXiv:2107.09282.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import MoCoProjectionHead
from torch import Tensor, nn

from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import COLLAPSED_LATER, DIMENSIONS, SAME_VIEW, TEACHER, TRIVIAL, UNIFORM_TEACHER
from selfsup.methods.parts import Queue, Teacher
from selfsup.methods.requirements import require_queue, require_views
from selfsup.objectives import floors, ressl


class ReSSL(Method):
    """The first view is the teacher's, the others are the student's; a queue holds the teacher's embeddings.

    Args:
        student_temperature: of the student's similarities.
        teacher_temperature: of the teacher's, below the student's.
        projector: ``hidden`` and ``out`` widths; without batch norm.
        momentum: of the teacher: ``start``, ``end`` and ``lag``, along a cosine.
        queue: number of earlier embeddings.
    """

    failures = (TEACHER, COLLAPSED_LATER, SAME_VIEW, DIMENSIONS, TRIVIAL, UNIFORM_TEACHER)

    def __init__(
        self,
        *,
        student_temperature: float,
        teacher_temperature: float,
        projector: Mapping[str, int],
        momentum: Mapping[str, float],
        queue: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "ressl")
        require_queue(queue, self.batch_size)
        if teacher_temperature >= student_temperature:
            raise UsageError(
                f"method.teacher_temperature is {teacher_temperature}; it has to be below "
                f"method.student_temperature={student_temperature}, or all embeddings become alike"
            )
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.projector = MoCoProjectionHead(self.encoder.dim, projector["hidden"], projector["out"])
        self.teacher = Teacher(nn.Sequential(self.encoder, self.projector), momentum)
        self.queue = Queue(queue, projector["out"])

    def loss(self, batch: Batch) -> Output:
        key = self.teacher(batch.views[0])
        features = [self.encoder(view) for view in batch.views[1:]]
        temperatures = self.student_temperature, self.teacher_temperature
        losses = [ressl(self.projector(each), key, self.queue.rows, *temperatures) for each in features]
        self.queue.gather(key)
        return Output(torch.stack(losses).mean(), features, of=range(1, len(batch.views)))

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        student, teacher = self.projector(features), self.teacher(batch.views[0])
        rows = F.normalize(self.queue.rows, dim=1).T
        return {
            "backbone": features,
            "embedding": student,
            "teacher": (F.normalize(teacher.float(), dim=1) @ rows / self.teacher_temperature).softmax(dim=1),
            "student": (F.normalize(student.float(), dim=1) @ rows / self.student_temperature).softmax(dim=1),
        }

    def marks(self) -> dict[str, float]:
        return {"trivial": floors.ressl(len(self.queue.rows))}
