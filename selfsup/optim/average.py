"""The exponential moving average that makes a teacher out of a student."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_average(
    teacher: nn.Module, student: nn.Module, momentum: float | Tensor, buffers: bool = True
) -> None:
    """``teacher = momentum * teacher + (1 - momentum) * student`` for parameters.

    Call it once an optimizer step, after it. Buffers (batch-norm statistics) are copied rather than
    averaged, as they are averages already; ``buffers=False`` leaves them to a teacher that runs in training
    mode and so collects its own. A momentum may be a tensor, which is not read; by 1 the teacher stays.

    Raises:
        ValueError: the two modules do not have the same parameters.
    """
    ours: list[Tensor] = list(teacher.parameters())
    theirs: list[Tensor] = list(student.parameters())
    if [p.shape for p in ours] != [p.shape for p in theirs]:
        raise ValueError(
            f"teacher ({len(ours)} parameters) and student ({len(theirs)}) differ in their shapes"
        )
    if isinstance(momentum, Tensor):
        steps = torch._foreach_sub(theirs, ours)
        torch._foreach_mul_(steps, 1 - momentum)
        torch._foreach_add_(ours, steps)
    else:
        torch._foreach_lerp_(ours, theirs, 1 - momentum)
    if buffers:
        for target, source in zip(teacher.buffers(), student.buffers(), strict=True):
            target.copy_(source)
