"""Progress on the terminal: share done, images a second, time left, loss."""

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressReport(pl.Callback):
    """A live bar on a terminal; elsewhere a line at every tenth of the run.

    Args:
        images_a_step: images an optimizer step consumes, over all processes.
    """

    def __init__(self, images_a_step: int, console: Console | None = None) -> None:
        self.images_a_step = images_a_step
        self.console = console or Console()
        self.progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.first, self.started = trainer.global_step, time.perf_counter()
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self.progress = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]}"),
            console=self.console,
        )
        self.task = self.progress.add_task("", total=self.total, completed=self.first, rate="–", loss="–")
        self.progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        seconds = time.perf_counter() - self.started
        rate = (step - self.first) * self.images_a_step / max(seconds, 1e-9)
        pl_module.images_per_second = rate  # type: ignore[assignment]
        if not trainer.is_global_zero:
            return
        tenth = max(1, self.total // 10)
        if self.progress is not None:
            if step % max(1, self.total // 200) == 0 or step == self.total:
                self.progress.update(self.task, completed=step, rate=f"{rate:,.0f}", loss=_loss(trainer))
        elif step % tenth == 0 and step > self.first:
            left = (self.total - step) * seconds / max(step - self.first, 1)
            self.console.print(
                f"step {step}/{self.total}, loss {_loss(trainer)}, {rate:,.0f} images/s, {left:.0f} s left",
                highlight=False,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _loss(trainer: pl.Trainer) -> str:
    loss = trainer.callback_metrics.get("loss")
    return "–" if loss is None else f"{float(loss):.4g}"
