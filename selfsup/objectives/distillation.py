"""Objectives in which a student predicts a teacher's distribution for another view."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, gather, rank, world_size
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_not_negative,
    check_positive,
    full_precision,
)


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
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    _check_views(student, teacher)
    if center.shape != teacher.shape[-1:]:
        raise ValueError(f"center must have the shape ({teacher.shape[-1]},), got {tuple(center.shape)}")
    targets = torch.softmax((teacher.detach() - center.detach()) / teacher_temperature, dim=-1)
    return _cross_entropy(student / student_temperature, targets)


@full_precision
def swav(
    student: Tensor,
    teacher: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    rounds: int = 3,
    queue: Tensor | None = None,
) -> Tensor:
    """Swapped prediction of balanced assignments (SwAV, Caron et al. 2020, arXiv:2006.09882, eq. 2 and 3).

    With q_g = sinkhorn(teacher_g / teacher_temperature), each view by itself, and
    p_v = softmax(student_v / student_temperature):

        L = mean over the pairs g != v, and over samples, of -sum_k q_gk log p_vk

    SwAV's teacher is the student itself, whose scores of the first views are given as both; with the moving
    average of the student it is DINOv2's loss of images (Oquab et al. 2023, arXiv:2304.07193). No gradient
    goes to the teacher.

    A queue of earlier samples helps a batch that is small beside the prototypes: its samples are assigned
    together with those of the batch, and nothing is predicted of them.

    Args:
        student: (V, N, K) scores of all crops, the global ones first.
        teacher: (G, N, K) scores of the global crops, in the same order.
        student_temperature: dimensionless, above 0.
        teacher_temperature: dimensionless, above 0; the paper's epsilon.
        rounds: of `sinkhorn`, at least 1.
        queue: (G, Q, K) scores of earlier samples, of each global view; the same in every process.

    Returns:
        Scalar, at least float32. log K where all scores are equal.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a temperature that
            is not above 0, no round, or no pair of two different views.

    >>> scores = torch.zeros(3, 5, 8)
    >>> round(swav(scores, scores[:2]).exp().item(), 3)
    8.0
    """
    check_floating(student=student, teacher=teacher)
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    _check_views(student, teacher)
    together = teacher
    if queue is not None:
        check_floating(queue=queue)
        views, _, prototypes = teacher.shape
        if queue.ndim != 3 or queue.shape[0] != views or queue.shape[2] != prototypes:
            expected = f"({views}, Q, {prototypes})"
            raise ValueError(f"queue must have the shape {expected}, got {tuple(queue.shape)}")
        # Each process assigns its share of the queue, so that no row counts twice.
        together = torch.cat([teacher, queue[:, rank() :: world_size()]], dim=1)
    targets = sinkhorn(together, teacher_temperature, rounds)[:, : teacher.shape[1]]
    return _cross_entropy(student / student_temperature, targets)


@full_precision
def msn(
    anchors: Tensor,
    target: Tensor,
    prototypes: Tensor,
    temperature: float = 0.1,
    sharpening: float = 0.25,
    balancing: int = 3,
    regularization: float = 1.0,
) -> Tensor:
    """Masked siamese networks (MSN, Assran et al. 2022, arXiv:2204.07141, eq. 1).

    With p_v = softmax(cos(anchor_v, prototypes) / temperature), and q the target's such probabilities to the
    power of 1 / sharpening, divided by their sum and balanced as in `sinkhorn`:

        L = mean_vn -sum_k q_nk log p_vnk + regularization * (log K - H(mean_vn p_vn))

    The entropy H of the mean prediction keeps all prototypes in use. As in the published settings, the
    balancing starts from the sharpened probabilities, not from scores. Prototypes are learned through the
    anchors alone.

    Args:
        anchors: (V, N, D) embeddings of the views from which it is predicted.
        target: (N, D) embeddings of the teacher's view; no gradient reaches them.
        prototypes: (K, D), the same in every process.
        temperature: dimensionless, above 0.
        sharpening: of the target; 1 leaves it as it is, lower is harder.
        balancing: rounds of it; 0 for none.
        regularization: weight of the entropy, at least 0.

    Returns:
        Scalar, at least float32. log K where all embeddings are equal, and log K times `regularization` where
        all views go to one prototype.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a setting out of
            range, or no sample.

    >>> rows = torch.eye(4)
    >>> round(msn(rows[None], rows, rows, temperature=0.01).item(), 3)
    0.0
    """
    check_floating(anchors=anchors, target=target, prototypes=prototypes)
    check_positive(temperature=temperature, sharpening=sharpening)
    check_not_negative(balancing=balancing, regularization=regularization)
    check_dimensions("V N D", anchors=anchors)
    if not anchors.numel() or target.shape != anchors.shape[1:]:
        expected = str(tuple(anchors.shape[1:]))
        raise ValueError(f"target must have the shape {expected} of each anchor, got {tuple(target.shape)}")
    if prototypes.ndim != 2 or prototypes.shape[1] != target.shape[1]:
        expected = f"(K, {target.shape[1]})"
        raise ValueError(f"prototypes must have the shape {expected}, got {tuple(prototypes.shape)}")
    directions = F.normalize(prototypes, dim=1)
    with torch.no_grad():
        sharp = F.normalize(target, dim=1) @ directions.T / (temperature * sharpening)
        log_q = sharp.log_softmax(dim=1)
        q = sinkhorn(log_q, 1.0, balancing) if balancing else log_q.exp()
    log_p = (F.normalize(anchors, dim=2) @ directions.T / temperature).log_softmax(dim=2)
    mean = all_reduce_mean(log_p.exp().mean(dim=(0, 1)))
    # Of a prototype that nobody predicts, the logarithm's gradient would be infinite.
    unused = math.log(len(prototypes)) + (mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()
    return all_reduce_mean(-(q * log_p).sum(-1).mean()) + regularization * unused


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, temperature: float = 0.05, rounds: int = 3) -> Tensor:
    """Balanced assignments of samples to prototypes (Cuturi 2013, arXiv:1306.0895).

    Starting from exp(scores / temperature), a round divides each prototype by its sum over the samples of
    all processes and then each sample by its sum over the prototypes. Sums of samples are exactly 1,
    those of prototypes approach N / K with more rounds. Computed with logarithms, so that no score overflows
    and no row's largest value has to be subtracted, which would change the result.

    Args:
        scores: (..., N, K); each slice of the leading axes is balanced by itself.
        temperature: above 0; the lower, the harder are the assignments.
        rounds: at least 1.

    Returns:
        (..., N, K) probabilities over the prototypes, at least float32, without a gradient.

    Raises:
        ValueError: scores that are not floating or not finite, with fewer than two axes or an empty one, a
            temperature that is not above 0, or no round.

    >>> sinkhorn(torch.tensor([[0.9, 0.1], [0.8, 0.1]]), temperature=0.1).argmax(dim=1)
    tensor([0, 1])
    """
    check_floating(scores=scores)
    check_positive(temperature=temperature)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if scores.ndim < 2 or not scores.numel():
        raise ValueError(f"scores must hold at least one sample and prototype, got {tuple(scores.shape)}")
    log_q = scores / temperature
    for _ in range(rounds):
        # Sums are gathered as logarithms too, so that no process's overflows.
        log_sums = gather(log_q.logsumexp(dim=-2, keepdim=True).unsqueeze(0)).logsumexp(dim=0)
        log_q = (log_q - log_sums).log_softmax(dim=-1)
    return log_q.exp()


def _check_views(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless all views of the teacher (G, N, K) are among the student's (V, N, K)."""
    check_dimensions("views N K", student=student, teacher=teacher)
    views, samples, prototypes = student.shape
    if teacher.shape[1:] != student.shape[1:]:
        expected = f"(G, {samples}, {prototypes})"
        raise ValueError(f"teacher must have the shape {expected}, got {tuple(teacher.shape)}")
    if samples < 1 or len(teacher) < 1 or views < max(len(teacher), 2):
        raise ValueError(
            f"student must hold all views of the teacher and at least two, of at least one sample, "
            f"got {views} views for a teacher of {len(teacher)}, and {samples} samples"
        )


def _cross_entropy(student: Tensor, targets: Tensor) -> Tensor:
    """Of the student's logits (V, N, K) under the targets (G, N, K): mean over pairs g != v and samples."""
    views, samples, _ = student.shape
    globals_ = len(targets)
    log_probabilities = torch.log_softmax(student, dim=-1)
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
        ValueError: a tensor that is not floating or not finite, does not have three axes, or is empty.

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
