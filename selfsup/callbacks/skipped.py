"""Unreadable images: counted and listed; too many of them stop the run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed

from selfsup.errors import UsageError
from selfsup.tables import write_rows

EVERY = 50  # batches between two counts over all processes


class SkippedImages(pl.Callback):
    """Collects the skipped images of all processes' batches into ``skipped.csv``.

    Several processes put their lists together every 50 batches and at the end of an epoch, so that all of
    them stop at the same batch.

    Args:
        allowed: share of the data that may be unreadable; at least one image always may.
        known: (name, reason) of the images found unreadable before the run.
    """

    def __init__(
        self, path: Path, samples: int, allowed: float, known: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.reasons = dict(known)
        self.new: dict[str, str] = {}
        self.path, self.allowed = path, max(1, int(allowed * (samples + len(self.reasons))))

    def state_dict(self) -> dict[str, Any]:
        return {"reasons": {**self.reasons, **self.new}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reasons |= state_dict["reasons"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.reasons:
            self._write(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.new |= {name: reason for name, reason in batch["skipped"] if name not in self.reasons}
        if trainer.world_size == 1 or (batch_idx + 1) % EVERY == 0:
            self._count(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count(trainer)

    def _count(self, trainer: pl.Trainer) -> None:
        new, self.new = self._of_all(trainer), {}
        new = {name: reason for name, reason in new.items() if name not in self.reasons}
        if not new:
            return
        self.reasons |= new
        self._write(trainer)
        if len(self.reasons) > self.allowed:
            name, reason = next(iter(new.items()))
            raise UsageError(
                f"{len(self.reasons)} images could not be read, more than data.max_unreadable allows; "
                f"{self.path} lists them, the newest is {name} ({reason})"
            )

    def _of_all(self, trainer: pl.Trainer) -> dict[str, str]:
        if trainer.world_size == 1:
            return self.new
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, self.new)
        return {name: reason for part in parts for name, reason in part.items()}

    def _write(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        rows = [{"image": name, "reason": reason} for name, reason in self.reasons.items()]
        write_rows(self.path, ("image", "reason"), rows)
