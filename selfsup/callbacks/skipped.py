"""Images that could not be read: counted, named at the end, and too many of them stop the run."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from selfsup.errors import UsageError


class SkippedImages(pl.Callback):
    """Collects what the batches name as skipped, into ``skipped.csv``.

    Args:
        allowed: share of the data that may be unreadable; at least one image always may.
    """

    def __init__(self, path: Path, samples: int, allowed: float) -> None:
        self.path, self.allowed = path, max(1, int(allowed * samples))
        self.reasons: dict[str, str] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"reasons": self.reasons}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reasons = dict(state_dict["reasons"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        new = {name: reason for name, reason in batch["skipped"] if name not in self.reasons}
        if not new:
            return
        self.reasons |= new
        # A file a process, so that none writes over another's.
        rank = trainer.global_rank
        path = self.path.with_stem(f"{self.path.stem}-{rank}") if rank else self.path
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("image", "reason"), *self.reasons.items()])
        if len(self.reasons) > self.allowed:
            name, reason = next(iter(new.items()))
            raise UsageError(
                f"{len(self.reasons)} images could not be read, more than data.max_unreadable allows; "
                f"{self.path} lists them, the newest is {name} ({reason})"
            )
