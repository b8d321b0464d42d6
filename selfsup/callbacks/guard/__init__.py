"""The collapse guard: what it measures, what it calls a failure, and the callback that does both in a run."""

from selfsup.callbacks.guard.callback import FEWEST, CollapseGuard
from selfsup.callbacks.guard.signals import SIGNALS, measure

__all__ = ["FEWEST", "SIGNALS", "CollapseGuard", "measure"]
