"""The collapse guard: what it measures, what it calls a failure, and the callback that does both in a run."""

from selfsup.callbacks.guard.callback import FEWEST, CollapseGuard
from selfsup.callbacks.guard.failures import Bound, Failure, failures_of
from selfsup.callbacks.guard.signals import SIGNALS, measure

__all__ = ["FEWEST", "SIGNALS", "Bound", "CollapseGuard", "Failure", "failures_of", "measure"]
