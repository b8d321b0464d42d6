"""LARS: layer-wise adaptive rates for very large batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """LARS (You et al. 2017, arXiv:1708.03888) as Barlow Twins, VICReg and MoCo v3 use it.

    Matrices: ``g += weight_decay * p``, then ``g *= trust * |p| / |g|`` (1 if either norm is 0).
    Vectors (biases, norms) have neither. Then ``m = momentum * m + g`` and ``p -= lr * m``. The
    trust ratio also holds at weight decay 0.

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
        trust: float = 0.001,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params: list[torch.Tensor] = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[torch.Tensor], group: dict[str, Any]) -> None:
        grads: list[torch.Tensor] = [p.grad for p in params if p.grad is not None]
        matrices = [i for i, p in enumerate(params) if p.ndim > 1]
        if matrices:
            weights = [params[i] for i in matrices]
            adapted = torch._foreach_add([grads[i] for i in matrices], weights, alpha=group["weight_decay"])
            norms = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(adapted))
            ratio = torch.where((norms[0] > 0) & (norms[1] > 0), group["trust"] * norms[0] / norms[1], 1.0)
            torch._foreach_mul_(adapted, list(ratio.unbind()))
            for i, grad in zip(matrices, adapted, strict=True):
                grads[i] = grad
        for p in params:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        torch._foreach_add_(params, buffers, alpha=-group["lr"])
