"""New heads learn before the trained encoder that they are put on."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from selfsup.methods.parts import FrozenAtFirst
from selfsup.methods.step import StepMeans
from selfsup.objectives.devices import Later
from selfsup.objectives.distributed import sum_over_processes, world_size


class HeadsFirst(FrozenAtFirst):
    """Keeps a trained encoder as it is while heads that begin at random would only disturb it.

    It is released where the loss has left its trivial value, by a tenth of the way to its floor (to 0 where
    none is known), as a running mean over about ten steps; at the latest after ``share`` of the run. A loss
    without a trivial value keeps it that long.

    Attributes:
        mean: the running mean; not-a-number before the first step.
        released: whether the encoder learns.
    """

    mean: Tensor
    released: Tensor
    marks: Mapping[str, float] | None

    def __init__(self, module: nn.Module, share: float) -> None:
        super().__init__(module, share)
        self.means, self.marks = StepMeans(), None
        self._seen: Later | None = None
        self.register_buffer("mean", torch.tensor(math.nan))
        self.register_buffer("released", torch.tensor(False))

    def gather(self, loss: Tensor, marks: Callable[[], Mapping[str, float]]) -> None:
        """Take note of a micro-batch's loss and, once, of what it is measured by."""
        if self.released.device.type != "cpu":  # read when the backward pass has been asked for
            self._seen = Later(self.released)
        self.means.add(loss=loss)
        self.marks = marks() if self.marks is None else self.marks

    def frozen(self, step: int, steps: int) -> bool:
        released = self.released if self._seen is None else self._seen.read()
        return super().frozen(step, steps) and not released

    def after_step(self, step: int, steps: int) -> None:
        if "loss" not in self.means or not self.marks or "trivial" not in self.marks:
            return
        if not self.frozen(step, steps):
            return
        trivial, floor = self.marks["trivial"], self.marks.get("floor", 0.0)
        loss = sum_over_processes(self.means["loss"].float()) / world_size()
        self.mean.copy_(torch.where(self.mean.isnan(), trivial, self.mean).lerp(loss, 0.1))
        self.released.copy_(self.mean < trivial - 0.1 * (trivial - floor))

    def forget(self) -> None:
        self.means.clear()
        self._seen = None
