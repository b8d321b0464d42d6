"""Optimizers, parameter groups, schedules and moving averages."""

from selfsup.optim.average import update_average
from selfsup.optim.groups import parameter_groups
from selfsup.optim.lars import LARS
from selfsup.optim.schedules import cosine, linear, part, warmup_cosine

__all__ = ["LARS", "cosine", "linear", "parameter_groups", "part", "update_average", "warmup_cosine"]
