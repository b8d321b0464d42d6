"""What was not finite first in a step: a view, the output of a module, the loss, or a gradient."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsup.objectives.precision import finite_or_not


class MicroBatch(NamedTuple):
    """What a loader gave, and the number of the micro-batch in the run, which seeds its draws."""

    batch: Mapping[str, Any]
    place: int


class Culprit(NamedTuple):
    """What was not finite first, and the indices of the samples it was not finite for (none: unknown)."""

    what: str
    samples: list[int]
    forward: bool  # already in the forward pass, which only the process with the samples sees


@torch.no_grad()
def culprit(
    method: Any, seen: MicroBatch, step: int, gradients: Sequence[str], context: Callable[[], Any]
) -> Culprit:
    """What is not finite first in another forward pass of a micro-batch, or among its step's gradients.

    Args:
        method: in training, a :class:`selfsup.methods.base.Method`.
        seen: as it was trained on.
        step: optimizer steps made before it.
        gradients: names of the parameters whose gradients are not finite, in the order of the method's.
        context: gives the context manager of the forward pass, such as autocast.
    """
    batch = seen.batch
    index = batch["index"].tolist()
    found: list[Culprit] = []

    def look(what: str, output: Any) -> None:
        for tensor in output if isinstance(output, (list, tuple)) else [output]:
            if found or not isinstance(tensor, Tensor) or not tensor.is_floating_point() or finite([tensor]):
                continue
            # Views lie behind one another, each with a row a sample.
            rows = None
            if tensor.ndim and len(tensor) and len(tensor) % len(index) == 0:
                rows = tensor.reshape(-1, len(index), tensor[0].numel()).transpose(0, 1).flatten(1)
            bad = [] if rows is None else (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
            found.append(Culprit(what, [index[row] for row in bad], True))

    again = method.batch(batch, step, method.total_steps, method.generator(seen.place))
    for number, view in enumerate(again.views):
        look(f"view {number}", view)
    modules = [(name, module) for name, module in method.named_modules() if name]
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: look(f"the output of {name}", output))
        for name, module in modules
    ]
    try:
        with context(), finite_or_not():
            loss = method(again).loss
    finally:
        for handle in handles:
            handle.remove()
    look("the loss", loss)
    if found:
        return found[0]
    if not gradients:
        return Culprit("the norm of the gradients", [], False)
    more = f" (with {len(gradients) - 1} other parameters)" if len(gradients) > 1 else ""
    # The backward pass came to the last of them first.
    return Culprit(f"the gradient of {gradients[-1]}{more}", [], False)


def finite(tensors: list[Tensor]) -> Tensor:
    """Whether all elements are finite, and so is the sum of the tensors' norms: a bool where they are.

    Example:
        >>> finite([torch.ones(2), torch.tensor([1.0, float("nan")])]).item()
        False
    """
    return lengths_finite(norms(tensors)) if tensors else torch.tensor(True)


def norms(tensors: Iterable[Tensor]) -> Tensor:
    """The lengths ``(n,)`` of one or more tensors: not finite for a tensor with an element that is not."""
    return torch.stack(torch._foreach_norm(list(tensors)))


def lengths_finite(lengths: Tensor) -> Tensor:
    """Whether all :func:`norms` are finite, and so is their sum: a bool where they are."""
    # They are not negative, so that no two of them cancel; each operation more is felt in a small step.
    return lengths.sum() < math.inf


def nonfinite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with an element that is not finite, or None."""
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if finite(list(floating.values())):
        return None
    return next((name for name, value in floating.items() if not value.isfinite().all()), None)
