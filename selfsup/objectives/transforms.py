"""Objectives of labels that say of which class an image is and how it was transformed (SLA)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_positive,
    check_same_shape,
    full_precision,
)


@full_precision
def sla_joint(logits: Tensor, labels: Tensor, transform: Tensor, transforms: int) -> Tensor:
    """Joint labels of class and transform: SLA (Lee, Hwang and Shin 2020, arXiv:1910.05872).

    With C classes, M transforms, and a classifier of all C M pairs, which need not be blind to the transform:

        L = mean_n -log softmax(logits_n)_(label(n) M + transform(n))

    The published code transforms each image in all M ways; this takes any number of copies.

    Args:
        logits: (N, C M) of N transformed images; column y M + i is of class y and transform i.
        labels: (N,) int64, from 0 to C - 1.
        transform: (N,) int64, from 0 to M - 1.
        transforms: M.

    Returns:
        Scalar, at least float32. log(C M) where all logits are equal.

    Raises:
        ValueError: shapes that do not match, logits that are not floating or not finite, labels or transforms
            that are not int64 or (on a CPU) out of range, no image.

    >>> round(sla_joint(torch.zeros(2, 12), torch.tensor([0, 2]), torch.tensor([3, 1]), 4).exp().item(), 3)
    12.0
    """
    check_floating(logits=logits)
    check_dimensions("N CM", logits=logits)
    images, outputs = logits.shape
    _check_divided(outputs, transforms)
    if not images:
        raise ValueError(f"logits must hold at least one image, got {tuple(logits.shape)}")
    _check_numbers("labels", labels, (images,), outputs // transforms)
    _check_numbers("transform", transform, (images,), transforms)
    return all_reduce_mean(F.cross_entropy(logits, labels * transforms + transform))


def sla_aggregate(logits: Tensor, transform: Tensor, transforms: int) -> Tensor:
    """Class logits of several transformed copies of an image together (arXiv:1910.05872).

    A copy speaks for each class by the logit of that class and of its own transform; the mean is over copies.

    Args:
        logits: (V, N, C M) of V copies of each image, as of `sla_joint`.
        transform: (V, N) int64, of each copy. The paper has all M.
        transforms: M.

    Returns:
        (N, C), of the logits' type.

    Raises:
        ValueError: shapes that do not match, logits that are not floating, transforms out of range.

    >>> logits = torch.arange(8.0).view(2, 1, 4)
    >>> sla_aggregate(logits, torch.tensor([[0], [1]]), transforms=2).tolist()
    [[2.5, 4.5]]
    """
    check_floating(logits=logits)
    check_dimensions("V N CM", logits=logits)
    copies, images, outputs = logits.shape
    _check_divided(outputs, transforms)
    _check_numbers("transform", transform, (copies, images), transforms)
    blocks = logits.unflatten(2, (-1, transforms))
    own = transform[..., None, None].expand(-1, -1, blocks.shape[2], 1)
    return blocks.gather(3, own)[..., 0].mean(0)


@full_precision
def sla_distill(
    single: Tensor, aggregated: Tensor, temperature: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """A single pass learns what all transformed copies say together (arXiv:1910.05872, SLA+SD).

        L = temperature^2 sum_n weight_n KL(softmax(aggregated_n / temperature)
                                            || softmax(single_n / temperature))

    Args:
        single: (N, C) logits of a head for images that are not transformed.
        aggregated: (N, C) of `sla_aggregate`; without a gradient.
        temperature: dimensionless, above 0.
        weight: (N,) of each image; None weighs all alike, so that the sum is the mean. Those of all processes
            should add up to 1.

    Returns:
        Scalar, at least float32. 0, the least, where both say the same.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a temperature that
            is not above 0, no image.

    >>> round(sla_distill(torch.zeros(1, 2), torch.tensor([[0.0, 100.0]])).exp().item(), 3)
    2.0
    """
    check_floating(single=single, aggregated=aggregated)
    check_dimensions("N C", single=single)
    check_same_shape(single=single, aggregated=aggregated)
    check_positive(temperature=temperature)
    if not len(single):
        raise ValueError(f"single must hold at least one image, got {tuple(single.shape)}")
    told = (aggregated.detach() / temperature).log_softmax(1)
    seen = (single / temperature).log_softmax(1)
    divergence = temperature**2 * (told.exp() * (told - seen)).sum(1)
    if weight is None:
        return all_reduce_mean(divergence.mean())
    check_floating(weight=weight)
    if weight.shape != single.shape[:1]:
        raise ValueError(f"weight must have the shape ({len(single)},), got {tuple(weight.shape)}")
    return all_reduce_sum((weight * divergence).sum())


def _check_divided(outputs: int, transforms: int) -> None:
    """Raise ValueError unless the logits have as many columns for each class as there are transforms."""
    if transforms < 1 or not outputs or outputs % transforms:
        raise ValueError(f"logits must have a multiple of transforms={transforms} columns, got {outputs}")


def _check_numbers(name: str, numbers: Tensor, shape: tuple[int, ...], count: int) -> None:
    """Raise ValueError unless numbers are int64 of a shape, and on a CPU from 0 to below a count."""
    if numbers.dtype != torch.int64 or tuple(numbers.shape) != shape:
        raise ValueError(
            f"{name} must be int64 of the shape {shape}, got {numbers.dtype} {tuple(numbers.shape)}"
        )
    # An accelerator has its own assertion.
    if numbers.numel() and numbers.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {low if low < 0 else high}")
