"""Progress on the terminal: share done, images a second, time left, loss and other metrics."""

import os
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from selfsup.callbacks.guard import CollapseGuard
from selfsup.callbacks.length import duration, timed_at
from selfsup.terminal import make_console, say

_REFRESH = 200  # times in a run that the bar is redrawn
_SCORES = {"knn": "kNN {:.1%}", "rankme": "RankMe {:.1f}"}  # metrics shown at once


class ProgressReport(pl.Callback):
    """A live bar on a terminal; in a file, a pipe and CI a plain line at every tenth of the run.

    Either way, how long the run will take is printed once, as soon as steps have been timed.

    Leaves on the module, for the file of metrics: ``images_per_second``, ``waiting`` (share of the time that
    went into waiting for images) and ``memory_gib``.

    Args:
        images_a_step: images an optimizer step consumes, over all processes.
    """

    def __init__(self, images_a_step: int, console: Console | None = None) -> None:
        self.images_a_step = images_a_step
        self.console = console or make_console()
        self.live: Live | None = None
        self.last = self.warm = 0  # the step of the last call, and the one from which steps are timed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.first, self.started = trainer.global_step, time.perf_counter()
        self.last, self.warm, self.since = self.first, self.first + 1, self.started
        # Some CI services give their jobs a terminal, and keep what is drawn on it as lines.
        watched = self.console.is_terminal and not self.console.is_dumb_terminal and not os.environ.get("CI")
        if not trainer.is_global_zero or not watched:
            return
        self.bar = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
        )
        self.task = self.bar.add_task("", total=self.total, completed=self.first, rate="–")
        self.live = Live(self.bar, console=self.console)
        self.live.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, seconds = trainer.global_step, time.perf_counter() - self.started
        pl_module.images_per_second = rate = (step - self.first) * self.images_a_step / max(seconds, 1e-9)
        pl_module.waiting = getattr(trainer.train_dataloader, "waited", 0.0) / max(seconds, 1e-9)
        pl_module.memory_gib = memory_gib(pl_module.device)
        if not trainer.is_global_zero or step == self.last:  # a further micro-batch of an accumulated step
            return
        self.last = step
        self._say_how_long(step)
        if self.live is not None:
            if step % max(1, self.total // _REFRESH) == 0 or step == self.total:
                self.bar.update(self.task, completed=step, rate=f"{rate:,.0f}")
                said = Text(", ".join(told(trainer, pl_module)), style="dim")
                self.live.update(Group(self.bar, said))
        elif step % max(1, self.total // 10) == 0 and step > self.first:
            left = (self.total - step) * seconds / max(step - self.first, 1)
            line = [f"step {step}/{self.total}", *told(trainer, pl_module), f"{rate:,.0f} images/s"]
            say(self.console, ", ".join([*line, f"{duration(left)} left"]))

    def _say_how_long(self, step: int) -> None:
        """Print it once, when some steps have been timed and more than as many are left."""
        now, done = time.perf_counter(), step - self.first
        if step == self.warm:
            self.since = now
        if done != timed_at(self.total - self.first) or self.total - step <= done:
            return
        each = (now - self.since) / (step - self.warm)
        left = duration((self.total - step) * each)
        say(self.console, f"about {left} to step {self.total:,}, at {each:.2g} s a step")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def told(trainer: pl.Trainer, module: Any) -> list[str]:
    """The line about a step: loss, learning rate, newest scores, waiting, memory, as far as known.

    A score of another step is printed with its step.
    """
    seen = trainer.callback_metrics
    words = [f"loss {float(seen['loss']):.4g}"] if "loss" in seen else []
    words += [f"lr {float(seen['lr']):.2g}"] if "lr" in seen else []
    scores = newest_scores(trainer, module)
    for name in filter(scores.__contains__, _SCORES):
        step, value = scores[name]
        when = f" at step {step}" if step != trainer.global_step else ""
        words.append(_SCORES[name].format(value) + when)
    return [*words, f"{module.waiting:.0%} waiting for data", f"{module.memory_gib:.1f} GiB"]


def newest_scores(trainer: pl.Trainer, module: Any) -> dict[str, tuple[int, float]]:
    """Step and value of the scores that are shown, by name.

    RankMe is the online evaluation's as soon as there is one, and the guard's until then: they are of
    different images, and a line that mixed them would jump.
    """
    found: dict[str, tuple[int, float]] = {}
    for guard in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(guard, CollapseGuard) and "backbone_rankme" in guard.newest:
            found["rankme"] = (guard.looked, guard.newest["backbone_rankme"])
    scored: tuple[int, dict[str, float | None]] = getattr(module, "online_scores", (0, {}))
    step, online = scored
    known = {name: (step, value) for name in _SCORES if (value := online.get(name)) is not None}
    return found | known


def memory_gib(device: torch.device) -> float:
    """The most memory that has been in use: the GPU's by torch, without one the process's; 0 where unknown.

    >>> memory_gib(torch.device("cpu")) > 0
    True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
