"""Objectives by which a student takes over what a frozen teacher knows, whatever their widths."""

import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_positive,
    check_queue,
    check_same_shape,
    full_precision,
)


@full_precision
def distill_relations(student: Tensor, teacher: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """The divergence of two networks' relations to other images.

    With s, t and m_j the rows of student, teacher and queue divided by their length:

        L = mean_n KL(softmax_j(t_n . m_j / temperature) || softmax_j(s_n . m_j / temperature))

    Teacher and queue have no gradient.

    Args:
        student: (N, D) features of the student, mapped to the teacher's width.
        teacher: (N, D) the teacher's features of the same images.
        queue: (K, D) the teacher's features of any images, those of the batch among them.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32; 0 where the two agree.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a
            temperature that is not above 0.

    >>> import torch
    >>> z = torch.eye(4)
    >>> distill_relations(z, z, z).item()
    0.0
    """
    check_queue(queue, student=student, teacher=teacher)
    check_positive(temperature=temperature)
    rows = F.normalize(queue.detach(), dim=1).T
    told = F.log_softmax(F.normalize(teacher.detach(), dim=1) @ rows / temperature, dim=1)
    seen = F.log_softmax(F.normalize(student, dim=1) @ rows / temperature, dim=1)
    return all_reduce_mean(F.kl_div(seen, told, reduction="batchmean", log_target=True))


@full_precision
def distill_tokens(student: Tensor, teacher: Tensor, temperature: float = 0.07) -> Tensor:
    """The divergence of two networks' relations between the places of one image.

    With s_i and t_i the tokens of an image divided by their length:

        L = mean_(n, i) KL(softmax_j(t_i . t_j / temperature) || softmax_j(s_i . s_j / temperature))

    Only similarities within a network are compared, so that the widths may differ. The teacher has no
    gradient.

    Args:
        student: (N, L, D) tokens.
        teacher: (N, L, E) tokens of the same places.
        temperature: dimensionless, above 0.

    Returns:
        Scalar, at least float32; 0 where the two agree.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a
            temperature that is not above 0.

    >>> import torch
    >>> tokens = torch.randn(2, 5, 3)
    >>> distill_tokens(2 * tokens, tokens).item()
    0.0
    """
    _check_tokens(student=student, teacher=teacher)
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            f"teacher must have the places of student, {tuple(student.shape)}, got {tuple(teacher.shape)}"
        )
    check_positive(temperature=temperature)
    told, seen = (_relations(each, temperature) for each in (teacher.detach(), student))
    loss = F.kl_div(seen, told, reduction="none", log_target=True).sum(dim=2).mean()
    return all_reduce_mean(loss)


@full_precision
def distill_layer(prediction: Tensor, target: Tensor) -> Tensor:
    """DistilHuBERT's loss of a layer's prediction (Chang et al. 2021, arXiv:2110.01900).

        L = mean |p - t| + mean_(n, i) -log sigmoid(cos(p_ni, t_ni))

    The target has no gradient.

    Args:
        prediction: (N, L, D) by a head on the student's tokens.
        target: (N, L, D) the teacher's tokens of a layer.

    Returns:
        Scalar, at least float32; log(1 + 1/e) = 0.3133 where the two agree.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite.

    >>> import torch
    >>> tokens = torch.randn(2, 5, 3)
    >>> round(distill_layer(tokens, tokens).item(), 4)
    0.3133
    """
    _check_tokens(prediction=prediction, target=target)
    check_same_shape(prediction=prediction, target=target)
    target = target.detach()
    cosine = F.cosine_similarity(prediction, target, dim=2)
    return all_reduce_mean(F.l1_loss(prediction, target) - F.logsigmoid(cosine).mean())


def _check_tokens(**tensors: Tensor) -> None:
    check_floating(**tensors)
    check_dimensions("N L D", **tensors)
    for name, tensor in tensors.items():
        if not tensor.numel():
            raise ValueError(f"{name} must hold at least one token, got {tuple(tensor.shape)}")


def _relations(tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities ``(N, L, L)`` of each place's likeness to all places of its image."""
    unit = F.normalize(tokens, dim=2)
    return F.log_softmax(unit @ unit.transpose(1, 2) / temperature, dim=2)
