"""LARS: layer-wise adaptive rates for very large batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.sgd import sgd


class LARS(Optimizer):
    """LARS (You et al. 2017, arXiv:1708.03888) as Barlow Twins, VICReg and MoCo v3 use it.

    Matrices: ``g += weight_decay * p``, then ``g *= trust_coefficient * |p| / |g|`` (1 if either norm is 0).
    Vectors (biases, norms) have neither. Then ``m = momentum * m + g`` and ``p -= lr * m``. The
    trust ratio also holds at weight decay 0. A step overwrites the gradients of matrices.

    Where an attribute ``found_inf`` is a 1 on the device, a step changes neither weights nor momenta, as with
    torch's fused optimizers.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> weight.grad = torch.ones(2, 2)
        >>> LARS([weight], lr=1.0, momentum=0.0).step()
        >>> weight[0, 0].item()
        0.9990000128746033
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust_coefficient": trust_coefficient,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained: list[torch.Tensor] = [p for p in group["params"] if p.grad is not None]
            grads = [_laid_out_as(p, p.grad) for p in trained if p.grad is not None]
            matrices = [i for i, p in enumerate(trained) if p.ndim > 1]
            _adapt([trained[i] for i in matrices], [grads[i] for i in matrices], group)
            for p in trained:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            # The rest is a step of SGD, which torch does in one pass over memory.
            sgd(
                trained,
                grads,
                [self.state[p]["momentum"] for p in trained],
                fused=True,
                weight_decay=0.0,
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
                found_inf=getattr(self, "found_inf", None),
            )
        return loss


def _adapt(weights: list[torch.Tensor], grads: list[torch.Tensor], group: dict[str, Any]) -> None:
    """Decay the gradients and give them the length ``trust_coefficient * |p|``, in place."""
    if not weights:
        return
    squares = []
    for weight, grad in zip(weights, grads, strict=True):
        if group["weight_decay"]:
            grad.add_(weight, alpha=group["weight_decay"])
        squares += [_square(weight), _square(grad)]
    of_weights, of_grads = torch.stack(squares).view(-1, 2).unbind(1)
    usual = (of_weights > 0) & (of_grads > 0)
    ratios = torch.where(usual, group["trust_coefficient"] * (of_weights / of_grads).sqrt(), 1.0)
    for grad, ratio in zip(grads, ratios, strict=True):
        grad.mul_(ratio)


def _square(x: torch.Tensor) -> torch.Tensor:
    """The squared norm, as a dot product: half the time of torch's norms on a CPU."""
    flat = x.flatten() if x.is_contiguous() else x.movedim(1, -1).flatten()  # channels last needs no copy
    return torch.dot(flat, flat)


def _laid_out_as(p: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """The gradient in its parameter's memory order, which torch's fused step assumes."""
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)
