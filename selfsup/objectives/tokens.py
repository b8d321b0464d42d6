"""Objectives in which a student predicts what a teacher says of patches that are hidden from it."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distillation import sinkhorn
from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_positive,
    check_same_shape,
    full_precision,
)


@full_precision
def ibot(
    student: Tensor,
    teacher: Tensor,
    weight: Tensor,
    center: Tensor | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    rounds: int = 3,
) -> Tensor:
    """Self-distillation of hidden patches (iBOT, Zhou et al. 2022, arXiv:2111.07832).

    With p = softmax(student / student_temperature) and the teacher's distribution q of the same patch:

        L = sum over all hidden patches of weight * -sum_k q_k log p_k

    q = softmax((teacher - center) / teacher_temperature), as in iBOT; without a centre it is `sinkhorn` over
    all hidden patches, as in DINOv2 (Oquab et al. 2023, arXiv:2304.07193). A weight of 1 / (N m) for each of
    the m hidden patches of an image, N images over all processes, gives the published mean over images, in
    which an image that hides nothing counts as 0. Processes may hide different numbers of patches. No
    gradient goes to the teacher, the centre or the weights.

    Args:
        student: (M, K) logits of hidden patches, from the masked images.
        teacher: (M, K) logits of the same patches, from the whole images.
        weight: (M,) of each patch.
        center: (K,) running mean of the teacher's logits; None balances them instead.
        student_temperature: dimensionless, above 0.
        teacher_temperature: dimensionless, above 0.
        rounds: of `sinkhorn`.

    Returns:
        Scalar, at least float32. log K where all logits are equal and the weights sum to 1.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, no patch, or a
            temperature that is not above 0.

    >>> logits, weight = torch.zeros(6, 8), torch.full((6,), 1 / 6)
    >>> round(ibot(logits, logits, weight, torch.zeros(8)).exp().item(), 3)
    8.0
    """
    check_floating(student=student, teacher=teacher, weight=weight)
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    check_dimensions("M K", student=student, teacher=teacher)
    check_same_shape(student=student, teacher=teacher)
    if not len(student):
        raise ValueError("student must hold at least one hidden patch, got none")
    if weight.shape != student.shape[:1]:
        raise ValueError(f"weight must have the shape ({len(student)},), got {tuple(weight.shape)}")
    teacher = teacher.detach()
    if center is None:
        targets = sinkhorn(teacher, teacher_temperature, rounds)
    else:
        check_floating(center=center)
        if center.shape != teacher.shape[-1:]:
            raise ValueError(f"center must have the shape ({teacher.shape[-1]},), got {tuple(center.shape)}")
        targets = torch.softmax((teacher - center.detach()) / teacher_temperature, dim=-1)
    log_probabilities = torch.log_softmax(student / student_temperature, dim=-1)
    each = (targets * log_probabilities).sum(dim=-1)
    return all_reduce_sum(-(weight.detach() * each).sum())


@full_precision
def data2vec(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance to a teacher's tokens (data2vec 2.0, Baevski et al. 2022, arXiv:2212.07525).

    With rows of D values, over the rows of all processes:

        L = mean of |prediction - target|^2 / sqrt(D)

    The targets of patches are `data2vec_targets`; that of the class token is their mean over the patches. The
    scale 1 / sqrt(D), in the place of 1 / D, is that of the published code. No gradient goes to the target.
    Processes are assumed to predict equally many rows.

    Args:
        prediction: (..., D) predicted tokens.
        target: (..., D) the teacher's tokens at the same positions.

    Returns:
        Scalar, at least float32. sqrt(D) for a prediction of zeros of layer-normed targets.

    Raises:
        ValueError: shapes that differ, tensors that are empty, not floating or not finite.

    >>> data2vec(torch.zeros(3, 4), torch.ones(3, 4))
    tensor(2.)
    """
    check_floating(prediction=prediction, target=target)
    check_same_shape(prediction=prediction, target=target)
    if prediction.ndim < 1 or not prediction.numel():
        raise ValueError(f"prediction must hold at least one token, got {tuple(prediction.shape)}")
    distance = (prediction - target.detach()).square().sum(dim=-1)
    return all_reduce_mean(distance.mean() / math.sqrt(prediction.shape[-1]))


@torch.no_grad()
@full_precision
def data2vec_targets(layers: Tensor) -> Tensor:
    """Normalised mean of a teacher's layers (data2vec 2.0, Baevski et al. 2022, arXiv:2212.07525).

    Each layer is normalised over the patches of an image, every channel by itself (instance norm); their mean
    is normalised over the channels of each patch (layer norm). Both have eps 1e-5 and no affine part.

    Args:
        layers: (K, N, L, D) what K blocks of the teacher say of L patches.

    Returns:
        (N, L, D), at least float32, without a gradient.

    Raises:
        ValueError: a tensor that is not floating or not finite, or that does not have four axes.

    >>> data2vec_targets(torch.rand(3, 2, 5, 8)).mean(-1).abs().max() < 1e-5
    tensor(True)
    """
    check_floating(layers=layers)
    check_dimensions("K N L D", layers=layers)
    variance, mean = torch.var_mean(layers, dim=2, correction=0, keepdim=True)
    normed = (layers - mean) * (variance + 1e-5).rsqrt()
    return F.layer_norm(normed.mean(dim=0), layers.shape[-1:], eps=1e-5)


@full_precision
def capi(logits: Tensor, assignments: Tensor, temperature: float = 0.12) -> Tensor:
    """Cross-entropy with assignments to clusters (CAPI, Darcet et al. 2025, arXiv:2502.08769).

        L = mean over patches of -sum_k q_k log softmax(logits / temperature)_k

    The assignments q are `sinkhorn` of the clustering's logits at a temperature of 0.06, balanced over the
    images at each position by itself: over all positions together, a position could decide the cluster. The
    predictor and the clustering have this loss each. No gradient goes to the assignments. Processes are
    assumed to hold equally many patches.

    Args:
        logits: (..., K).
        assignments: (..., K) probabilities.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32. log K where all logits are equal.

    Raises:
        ValueError: shapes that differ, tensors that are empty, not floating or not finite, or a temperature
            that is not above 0.

    >>> round(capi(torch.zeros(5, 8), torch.full((5, 8), 1 / 8)).exp().item(), 3)
    8.0
    """
    check_floating(logits=logits, assignments=assignments)
    check_same_shape(logits=logits, assignments=assignments)
    check_positive(temperature=temperature)
    if logits.ndim < 1 or not logits.numel():
        raise ValueError(f"logits must hold at least one patch, got {tuple(logits.shape)}")
    log_probabilities = torch.log_softmax(logits / temperature, dim=-1)
    return all_reduce_mean(-(assignments.detach() * log_probabilities).sum(dim=-1).mean())


@torch.no_grad()
@full_precision
def semantic_order(class_token: Tensor, patches: Tensor, grid: Sequence[int], ties: Tensor) -> Tensor:
    """When each patch has its turn, from the one most like the class token outwards (SemAIM).

    Yang et al. 2023, "Semantic-Aware Autoregressive Image Modeling for Visual Representation Learning",
    arXiv:2312.08457: the distance on the grid to the patch of the largest cosine with the class token, and
    1e-3 of `ties`.

    Args:
        class_token: (N, D).
        patches: (N, L, D) in raster order.
        grid: (H, W), patches a side.
        ties: (N, L) in [0, 1), which decides between patches of one distance.

    Returns:
        (N, L), at least float32; the smaller, the earlier.

    Raises:
        ValueError: tensors that are not floating or not finite, or shapes that do not match.

    >>> patches = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    >>> semantic_order(torch.tensor([[0.0, 1.0]]), patches, (1, 3), torch.zeros(1, 3))
    tensor([[2., 1., 0.]])
    """
    check_floating(class_token=class_token, patches=patches, ties=ties)
    check_dimensions("N L D", patches=patches)
    n, length, width = patches.shape
    if class_token.shape != (n, width) or ties.shape != (n, length) or grid[0] * grid[1] != length:
        raise ValueError(
            f"class_token, ties and grid must fit patches {tuple(patches.shape)}, got "
            f"{tuple(class_token.shape)}, {tuple(ties.shape)} and {tuple(grid)}"
        )
    centre = F.cosine_similarity(patches, class_token.unsqueeze(1), dim=-1).argmax(dim=1)
    cell = torch.arange(length, device=patches.device)
    rows = cell // grid[1] - (centre // grid[1]).unsqueeze(1)
    columns = cell % grid[1] - (centre % grid[1]).unsqueeze(1)
    return (rows.square() + columns.square()).to(patches.dtype).sqrt() + 1e-3 * ties
