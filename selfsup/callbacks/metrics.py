"""``metrics.csv``: a row every few steps, without gaps or duplicates across interruptions; loggers get it
too."""

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from selfsup.files import appended
from selfsup.tables import append_rows, rows_until, write_rows


class MetricsFile(pl.Callback):
    """Appends the scalars of ``trainer.callback_metrics`` to a CSV file, and gives them to the loggers.

    A resumed run first drops the file's rows that it will compute again; Lightning's CSVLogger starts a new
    file then.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.columns: list[str] = []
        self.before: float | None = None  # seconds of training until this start, if a checkpoint says so
        self.started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training over all starts of the run, without steps that were made twice."""
        now = 0.0 if self.started is None else time.perf_counter() - self.started
        return (self.before or 0.0) + now

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = float(state_dict["seconds"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.before, self.started = self.seconds, None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        self.last = trainer.global_step
        if not trainer.is_global_zero or not self.path.exists() or not self.path.stat().st_size:
            return
        rows = rows_until(self.path, trainer.global_step)
        self.columns = list(rows[-1]) if rows else []
        if self.before is None and rows:
            self.before = _number(rows[-1].get("seconds", ""))
        # Whole, so that a file that is linked to this one stays as it is.
        write_rows(self.path, self.columns, rows) if rows else self.path.unlink()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A checkpoint that outlives a power cut would go on behind rows that did not.
        if trainer.is_global_zero and self.path.exists():
            with appended(self.path) as file:
                os.fsync(file.fileno())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step % self.every and step != 1):
            return
        if step == self.last:  # a further micro-batch of an accumulated step
            return
        self.last = step
        scalars = numbers(dict(sorted(trainer.callback_metrics.items())))
        row = {
            "epoch": trainer.current_epoch,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(getattr(pl_module, "images_per_second", 0.0), 1),
            "waiting": round(getattr(pl_module, "waiting", 0.0), 4),
            "memory_gib": round(getattr(pl_module, "memory_gib", 0.0), 3),
            **scalars,
        }
        for logger in trainer.loggers:
            logger.log_metrics(row, step)
        self.columns = self.columns or ["step", *row]
        append_rows(self.path, self.columns, [{"step": step, **row}])


def numbers(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Scalars as numbers, those of a device in one copy, for which the host waits once.

    >>> numbers({"loss": torch.tensor(0.5), "lr": 1})
    {'loss': 0.5, 'lr': 1.0}
    """
    there = {name: value for name, value in values.items() if isinstance(value, Tensor) and not value.is_cpu}
    if there:
        read = torch.stack([value.detach().double() for value in there.values()]).tolist()
        values = {**values, **dict(zip(there, read, strict=True))}
    return {name: float(value) for name, value in values.items()}


def _number(text: str) -> float:
    """A number of seconds; 0 for anything else."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0
