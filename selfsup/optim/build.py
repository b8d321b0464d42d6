"""From an optimizer's settings (``configs/optimizer/``) to the optimizer, and to its rate at a step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from selfsup.errors import UsageError
from selfsup.optim.groups import parameter_groups
from selfsup.optim.lars import LARS
from selfsup.optim.schedules import anneal, infinite, part, warmup_constant, warmup_cosine


def build_optimizer(module: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer ``settings["name"]`` (adamw, lars or sgd) over a module's trainable parameters.

    Raises:
        UsageError: there is none of that name, or a layer decay that the module does not take.
    """
    try:
        groups = parameter_groups(module, settings["weight_decay"], settings["layer_decay"])
    except ValueError as error:
        raise UsageError(f"method.optimizer: {error}") from error
    match settings["name"]:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings["lr"], betas=tuple(settings["betas"]), fused=True)
        case "lars":
            return LARS(groups, lr=settings["lr"], momentum=settings["momentum"])
        case "sgd":
            there = any(p.device.type != "cpu" for p in module.parameters())
            return _sgd(groups, settings["lr"], settings["momentum"], fused=there)
        case name:
            raise UsageError(f"no optimizer '{name}'; choose adamw, lars or sgd")


def _sgd(groups: list[dict[str, Any]], lr: float, momentum: float, fused: bool) -> torch.optim.Optimizer:
    """SGD; ``fused``, it skips a step for which ``found_inf`` on the device is 1."""
    if not fused:
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)
    for group in optimizer.param_groups:
        for p in group["params"]:  # which would be what memory holds after a first step that is skipped
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def learning_rate(settings: Mapping[str, Any], step: int, steps: int, peak: float) -> float:
    """The rate of a step by ``settings["schedule"]`` (``configs/schedule/``): cosine, constant or infinite.

    >>> settings = {"schedule": "cosine", "warmup": 0.1, "lr_end": 0.0}
    >>> [learning_rate(settings, step, 100, 1.0) for step in (0, 9, 55)]
    [0.1, 1.0, 0.5]
    """
    match settings["schedule"]:
        case "cosine":
            warmup = part(settings["warmup"], steps)
            return warmup_cosine(step, steps, warmup, peak, peak * settings["lr_end"])
        case "constant":
            return warmup_constant(step, part(settings["warmup"], steps), peak)
        case "infinite":
            return _infinite(settings, step + 1, peak)
        case name:
            raise UsageError(f"no schedule '{name}'; choose cosine, constant or infinite")


def _infinite(settings: Mapping[str, Any], n: int, peak: float) -> float:
    """The rate of step ``n``, counted from 1, with the annealing if the run is a branch with one."""
    known = (settings["warmup_steps"], settings["cooldown_steps"], peak, peak * settings["lr_constant"])
    begun = settings["anneal_from"]
    if begun is None or n <= begun:
        return infinite(n, *known)
    return anneal(n - begun, settings["anneal_steps"], infinite(begun, *known), peak * settings["lr_end"])


def horizon(settings: Mapping[str, Any], steps: int) -> int:
    """The length over which a method's other schedules run: the run's, or that of a rate without an end."""
    return int(settings["cooldown_steps"]) if settings["schedule"] == "infinite" else steps
