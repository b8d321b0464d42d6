"""The collapse guard in a run: looks at a fixed probe now and then, warns, and stops the run if asked."""

import math
from collections import deque
from dataclasses import replace
from math import ceil
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor

from selfsup.callbacks.guard.signals import difference, measure, ratio
from selfsup.callbacks.guard.undisturbed import undisturbed
from selfsup.callbacks.guard.watch import Warned, Watch
from selfsup.data.batches import Batches
from selfsup.errors import RunStopped
from selfsup.methods.base import Method
from selfsup.methods.failures import failures_of
from selfsup.tables import append_rows, rows_until, write_rows
from selfsup.terminal import say

FEWEST = 16  # images below which no signal means anything
_ENOUGH = 32  # images that the probe has even if a batch has fewer
_EARLY = 200  # steps in which a failure should have been named, which takes two looks
_COLUMNS = ("step", "name", "value", "message")
_REMEMBERED = 20  # looks back for the median gradient


class CollapseGuard(pl.Callback):
    """Looks at step 0, after the first step and every few; changes nothing that training depends on.

    Every process looks at the same images, so that all come to the same answer; the first one writes.

    A look at as many images as a step has costs a fraction of the step. The probe is therefore no larger
    than a batch; and where a batch is smaller than the least probe, looks are that much rarer, but for
    two in the first 200 steps. When the looks are depends on nothing but the step.

    Args:
        source: the training data.
        batch_size: images that a process has an optimizer step.
        every: steps between looks.
        images: of the probe at most, drawn once from the source; all of a smaller one.
        stop: end the run when a failure is named.
        path: of ``warnings.csv``.
        console: for the warnings.
        seed: of the probe.

    Raises (while training):
        RunStopped: a failure was named, and `stop` is set.
    """

    def __init__(
        self,
        source: Any,
        *,
        batch_size: int,
        every: int,
        images: int,
        stop: bool,
        path: Path,
        console: Console,
        seed: int = 0,
    ) -> None:
        self.source, self.stop, self.path, self.console = source, stop, path, console
        images = min(images, len(source), max(_ENOUGH, batch_size))
        self.every = every * ceil(images / batch_size)
        self.early = min(self.every, max(every, _EARLY // 2))
        # In the order of the source, for shards are read from beginning to end.
        self.index = sorted(Random(seed).sample(range(len(source)), images))
        self.watch = Watch()
        self.newest: dict[str, float] = {}
        self.gradients: deque[float] = deque(maxlen=_REMEMBERED)
        self.loss: Tensor | float = 0.0
        self.losses = 0
        self.weights: list[Tensor] = []
        self.looked, self.length = 0, math.nan  # the step of the last look, and the weights' length then

    def state_dict(self) -> dict[str, Any]:
        return {
            "watch": self.watch.state(),
            "newest": dict(self.newest),
            "gradients": list(self.gradients),
            "loss": float(self.loss),
            "losses": self.losses,
            "looked": self.looked,
            "length": self.length,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.watch.load(state_dict["watch"])
        self.newest = dict(state_dict["newest"])
        self.gradients.extend(state_dict["gradients"])
        self.loss, self.losses = state_dict["loss"], state_dict["losses"]
        self.looked, self.length = state_dict["looked"], state_dict["length"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.watch.failures = failures_of(pl_module.failures)
        batch = pl_module.batch(Batches(self.source, pl_module.views)[(0, self.index)])
        self.batch = replace(batch, views=batch.views[:2])
        self.marks = pl_module.marks()
        self.last, self.told = trainer.global_step, False
        if trainer.is_global_zero:
            self._forget_after(trainer.global_step)
        if not self.newest:
            self.newest = self._observe(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if self.due(trainer.global_step + 1):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self.gradient = torch.nn.utils.get_total_norm(gradients)
            self.weights = [p.detach().clone() for p in pl_module.encoder.parameters()]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self.last:  # a further micro-batch of an accumulated step
            return
        self.last = step
        # The mean over the step's micro-batches; nothing is read off the device here.
        metrics = trainer.callback_metrics  # the method's own loss, without auxiliary ones
        self.loss = self.loss + metrics.get("objective", metrics["loss"])
        self.losses += 1
        if self.due(step):
            self._look(step, trainer, pl_module)
        elif not self.told:
            # A resumed run's rows in `metrics.csv` are those of a run that was not interrupted.
            self._show(trainer)
        self.told = True

    def due(self, step: int) -> bool:
        """Whether there is a look after an optimizer step."""
        return step == 1 or step % (self.early if step <= _EARLY else self.every) == 0

    def _look(self, step: int, trainer: pl.Trainer, module: Any) -> None:
        seen = self.newest if step == 1 else self._observe(trainer, module)
        signals = seen | self._of_step(step, module)
        self.newest = signals
        self._show(trainer)
        share = step / max(1, int(trainer.estimated_stepping_batches))
        warned = self.watch.look(step, share, signals, self.marks)
        if trainer.is_global_zero:
            self._tell(warned, trainer)
        if self.stop and trainer.strategy.reduce_boolean_decision(bool(warned), all=False):
            said = warned[0].message if warned else "see the log of another process"
            raise RunStopped(f"stopped at step {step}: {said}")

    def _show(self, trainer: pl.Trainer) -> None:
        newest: dict[str, Any] = {f"guard/{name}": value for name, value in self.newest.items()}
        trainer.callback_metrics.update(newest)

    def _observe(self, trainer: pl.Trainer, module: Method) -> dict[str, float]:
        """Signals of the model as it is."""
        generator = torch.Generator().manual_seed(0)  # the same masks at every look
        now = replace(self.batch, step=trainer.global_step, steps=module.total_steps, generator=generator)
        with undisturbed(module), trainer.precision_plugin.forward_context():
            seen = module.observe(now.to(module.device))
        signals = measure(seen)
        if len({view.shape for view in self.batch.views}) < len(self.batch.views):
            signals["views_difference"] = difference(*self.batch.views)
        return signals

    def _of_step(self, step: int, module: Any) -> dict[str, float]:
        """Signals of the loss and of the step that was just made."""
        loss = float(self.loss) / self.losses
        self.loss, self.losses = 0.0, 0
        signals = {"loss": loss}
        signals |= {f"loss_{name}": loss / value for name, value in self.marks.items() if value}
        gradient = float(self.gradient)
        signals["gradient"] = gradient
        signals["gradient_jump"] = ratio(gradient, median(self.gradients or [math.nan]))
        if math.isfinite(gradient):  # a median of something that is no number would be any
            self.gradients.append(gradient)
        before, now = self.weights, [p.detach() for p in module.encoder.parameters()]
        moved, length = _distance(now, before), float(_length(now))
        # Weights that grew have moved at least that far, whatever the size of the step that is seen.
        grown = ratio(abs(ratio(length, self.length) - 1), step - self.looked)
        signals["update"] = max(ratio(float(moved), length), grown if math.isfinite(grown) else 0.0)
        if (teacher := module.average()) is not None:
            signals["teacher_lag"] = ratio(float(_distance(list(teacher.parameters()), now)), float(moved))
        self.weights, self.looked, self.length = [], step, length
        return signals

    def _tell(self, warned: list[Warned], trainer: pl.Trainer) -> None:
        if not warned:
            return
        for logger in trainer.loggers:
            logger.log_metrics({f"guard/named/{one.name}": one.value for one in warned}, warned[0].step)
        rows = [(one.step, one.name, f"{one.value:.6g}", one.message) for one in warned]
        append_rows(self.path, _COLUMNS, (dict(zip(_COLUMNS, row, strict=True)) for row in rows))
        for one in warned:
            say(self.console, f"warning at step {one.step}: {one.message}")

    def _forget_after(self, step: int) -> None:
        """Drop what a resumed run will say again."""
        if not self.path.exists():
            return
        rows = rows_until(self.path, step)
        write_rows(self.path, _COLUMNS, rows) if rows else self.path.unlink()


@torch.no_grad()
def _length(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors together."""
    return torch.nn.utils.get_total_norm(tensors)


@torch.no_grad()
def _distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return _length([a - b for a, b in zip(one, other, strict=True)])
