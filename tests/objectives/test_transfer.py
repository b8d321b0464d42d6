"""What a teacher says is given: no gradient goes to it, or to its queue."""

import torch

from selfsup.objectives import distill_layer, distill_relations, distill_tokens


def test_teacher_and_queue_have_no_gradient() -> None:
    student, teacher, queue = (torch.randn(n, 6, requires_grad=True) for n in (12, 12, 20))
    distill_relations(student, teacher, queue).backward()
    assert student.grad is not None
    assert teacher.grad is queue.grad is None


def test_nor_have_its_tokens() -> None:
    for objective in (distill_tokens, distill_layer):
        student, teacher = (torch.randn(3, 5, 6, requires_grad=True) for _ in range(2))
        objective(student, teacher).backward()
        assert student.grad is not None
        assert teacher.grad is None
