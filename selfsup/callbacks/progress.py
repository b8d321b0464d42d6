"""Progress on the terminal: share done, images a second, time left, loss and what else tells how it goes."""

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

from selfsup.terminal import make_console, say

_REFRESH = 200  # times in a run that the bar is drawn anew
_NEWEST = {"knn": "kNN {:.1%}", "rankme": "RankMe {:.1f}"}  # of the online scores that are shown


class ProgressReport(pl.Callback):
    """A live bar on a terminal; in a file, a pipe and CI a plain line at every tenth of the run.

    Leaves on the module, for the file of metrics: ``images_per_second``, ``waiting`` (share of the time that
    went into waiting for images) and ``memory_gib``.

    Args:
        images_a_step: images an optimizer step consumes, over all processes.
    """

    def __init__(self, images_a_step: int, console: Console | None = None) -> None:
        self.images_a_step = images_a_step
        self.console = console or make_console()
        self.live: Live | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.first, self.started = trainer.global_step, time.perf_counter()
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
        if not trainer.is_global_zero:
            return
        if self.live is not None:
            if step % max(1, self.total // _REFRESH) == 0 or step == self.total:
                self.bar.update(self.task, completed=step, rate=f"{rate:,.0f}")
                said = Text(", ".join(told(trainer, pl_module)), style="dim")
                self.live.update(Group(self.bar, said))
        elif step % max(1, self.total // 10) == 0 and step > self.first:
            left = (self.total - step) * seconds / max(step - self.first, 1)
            line = [f"step {step}/{self.total}", *told(trainer, pl_module), f"{rate:,.0f} images/s"]
            say(self.console, ", ".join([*line, f"{left:.0f} s left"]))

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
    """What is said of a step: loss, learning rate, newest scores, waiting, memory; only what is known."""
    seen = trainer.callback_metrics
    words = [f"loss {float(seen['loss']):.4g}"] if "loss" in seen else []
    words += [f"lr {float(seen['lr']):.2g}"] if "lr" in seen else []
    online = getattr(module, "online_scores", {})
    scores = {name: value for name, value in online.items() if value is not None}
    if "guard/backbone_rankme" in seen:
        scores.setdefault("rankme", float(seen["guard/backbone_rankme"]))
    words += [text.format(scores[name]) for name, text in _NEWEST.items() if name in scores]
    return [*words, f"{module.waiting:.0%} waiting for data", f"{module.memory_gib:.1f} GiB"]


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
