"""How a method's loss and the auxiliary losses beside it become one."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from selfsup.objectives.devices import sent
from selfsup.objectives.distributed import sum_over_processes, world_size
from selfsup.optim import minimum_norm


def balanced(losses: Mapping[str, Tensor], shared: Iterable[Tensor]) -> dict[str, Tensor]:
    """Weights of losses by their gradients for shared parameters (Sener and Koltun 2018, arXiv:1810.04650).

    They are those of :func:`~selfsup.optim.mgda.minimum_norm`, without a gradient and of sum 1. Gradients are
    averaged over processes, so that all have the weights of one that holds the whole batch. A loss without
    any gradient, such as one of a teacher that begins as the same encoder, gets none: all weight would be its
    own, and nothing would be learned. It takes a backward pass for each loss.

    Args:
        losses: scalars by name, which stay differentiable.
        shared: the encoder's parameters; those that are not trained are left out.

    >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> balanced({"one": 2 * x[0], "other": x[1]}, [x])
    {'one': tensor(0.2000), 'other': tensor(0.8000)}
    """
    parameters = [parameter for parameter in shared if parameter.requires_grad]
    with torch.no_grad():
        rows = torch.stack([_gradient(loss, parameters) for loss in losses.values()])
        rows = sum_over_processes(rows) / world_size()
        # Not a matrix product, which autocast would round.
        gram = torch.stack([torch.stack([(one * other).sum() for other in rows]) for one in rows]).cpu()
        moving = gram.diagonal() != 0
        weights = torch.zeros(len(gram), dtype=torch.float64)
        weights[moving] = minimum_norm(gram[moving][:, moving]) if moving.any() else 0.0
        made = sent(weights, rows)
    return dict(zip(losses, made.unbind(), strict=True))


def _gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
    return torch.cat([each.flatten() for each in flat]).float()
