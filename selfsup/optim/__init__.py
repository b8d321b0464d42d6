"""Optimizers, parameter groups, schedules and moving averages."""

from selfsup.optim.average import update_average
from selfsup.optim.build import build_optimizer, horizon, learning_rate
from selfsup.optim.groups import parameter_groups
from selfsup.optim.lars import LARS
from selfsup.optim.mgda import minimum_norm
from selfsup.optim.schedules import anneal, cosine, infinite, linear, part, warmup_constant, warmup_cosine

__all__ = [
    "LARS",
    "anneal",
    "build_optimizer",
    "cosine",
    "horizon",
    "infinite",
    "learning_rate",
    "linear",
    "minimum_norm",
    "parameter_groups",
    "part",
    "update_average",
    "warmup_constant",
    "warmup_cosine",
]
