"""Objectives in which a student predicts the distribution that a teacher gives another view."""

import torch
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean
from selfsup.objectives.precision import check_dimensions, check_floating, check_positive, full_precision


@full_precision
def dino(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Self-distillation across crops (DINO, Caron et al. 2021, arXiv:2104.14294, eq. 3 and algorithm 1).

    With q_g = softmax((teacher_g - center) / teacher_temperature)
    and p_v = softmax(student_v / student_temperature):

        L = mean over the pairs g != v, and over samples, of -sum_k q_gk log p_vk

    The teacher's views are the first G of the student's V views. No gradient goes to the teacher or the
    centre. As in the published code, the centre is updated after this call, with `dino_center`.

    Args:
        student: (V, N, K) logits of all crops, the global ones first.
        teacher: (G, N, K) logits of the global crops, in the same order.
        center: (K,) running mean of the teacher's logits.
        student_temperature: dimensionless, above 0.
        teacher_temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. log K where all logits are equal.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a temperature that
            is not above 0, or no pair of two different views.

    >>> logits = torch.zeros(3, 5, 8)
    >>> round(dino(logits, logits[:2], torch.zeros(8)).exp().item(), 3)
    8.0
    """
    check_floating(student=student, teacher=teacher, center=center)
    check_dimensions("views N K", student=student, teacher=teacher)
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    views, samples, prototypes = student.shape
    globals_ = len(teacher)
    if teacher.shape[1:] != student.shape[1:]:
        expected = f"(G, {samples}, {prototypes})"
        raise ValueError(f"teacher must have the shape {expected}, got {tuple(teacher.shape)}")
    if center.shape != (prototypes,):
        raise ValueError(f"center must have the shape ({prototypes},), got {tuple(center.shape)}")
    if samples < 1 or globals_ < 1 or views < max(globals_, 2):
        raise ValueError(
            f"student must hold all views of the teacher and at least two, of at least one sample, "
            f"got {views} views for a teacher of {globals_}, and {samples} samples"
        )

    targets = torch.softmax((teacher.detach() - center.detach()) / teacher_temperature, dim=-1)
    log_probabilities = torch.log_softmax(student / student_temperature, dim=-1)
    # The pairs of one student view share its log-probabilities, so that their targets can be added first.
    # Products are summed by `sum`, in a tree: a matrix product's running sum of N K terms loses four digits
    # in float32.
    total = targets.sum(0)
    first, rest = log_probabilities.split([globals_, views - globals_])
    agreement = ((total - targets) * first).sum() + (total * rest).sum()
    return all_reduce_mean(-agreement / (samples * globals_ * (views - 1)))


@torch.no_grad()
def dino_center(teacher: Tensor) -> Tensor:
    """Mean of the teacher's logits over its views and the samples of all processes: (G, N, K) -> (K,).

    DINO keeps center = 0.9 * center + 0.1 * dino_center(teacher), starts at 0 and updates after the loss.

    Raises:
        ValueError: a tensor that is not floating or not finite, has not three axes, or is empty.

    >>> dino_center(torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]]))
    tensor([2., 0.])
    """
    return _mean_logits(teacher)


@full_precision
def _mean_logits(teacher: Tensor) -> Tensor:
    check_floating(teacher=teacher)
    check_dimensions("G N K", teacher=teacher)
    if teacher.shape[0] * teacher.shape[1] == 0:
        raise ValueError(f"teacher must hold at least one view of one sample, got {tuple(teacher.shape)}")
    return all_reduce_mean(teacher.mean(dim=(0, 1)))
