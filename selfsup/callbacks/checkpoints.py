"""Checkpoints: by minutes, by steps, at the end, and when a signal asks the run to stop."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from selfsup.callbacks.checkpoint_files import (
    FOLDER,
    checkpoint_path,
    checkpoints,
    last_good,
    step_of,
    trouble,
)
from selfsup.callbacks.checkpoint_writer import WholeFiles
from selfsup.callbacks.culprit import nonfinite
from selfsup.callbacks.signals import StopSignals
from selfsup.errors import RunStopped
from selfsup.files import remove_parts

_NOTHING, _SAVE, _STOP = 0, 1, 2


class Checkpoints(Checkpoint):
    """Saves ``checkpoints/step-<n>.ckpt``: by minutes, by steps, at the end and at a signal.

    Lightning puts a callback of this type behind the others, so that a checkpoint holds their states
    as they are after its step. One is only written between optimizer steps: accumulated gradients are
    not part of it. Of an epoch's last step it is written when Lightning has counted the epoch.

    One checkpoint is written at a time. Until it is on the disk, checkpoints by minutes are put off and all
    others wait.

    Args:
        folder: the run's.
        minutes: between the beginnings of two checkpoints.
        steps: also every so many optimizer steps; 0 for the minutes alone.
        files: the trainer's, which writes them.
        signals: obeyed after the step in which they came.
        begun: called by the first process when the first step of this start is made.

    Raises (while training):
        RunStopped: a signal came; the disk is full; the weights are not finite. A signal leaves a new
            checkpoint; the others leave the last good one.
    """

    def __init__(
        self,
        folder: Path,
        minutes: float,
        steps: int,
        files: WholeFiles,
        signals: StopSignals,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.seconds, self.steps, self.files = folder, 60 * minutes, steps, files
        self.signals, self.begun = signals, begun
        self.facts: dict[str, int] = {}
        self.ended = False

    def state_dict(self) -> dict[str, Any]:
        """Facts checked on resume."""
        return self.facts

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.found()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.facts = {"processes": trainer.world_size, "total_steps": self.total}
        self.first = self.step = self.saved = trainer.global_step
        self.pending = _NOTHING
        self.written = time.monotonic()
        self.signals.catch()  # Lightning has put in its own
        if trainer.is_global_zero:
            remove_parts(self.folder / FOLDER)
            for path in checkpoints(self.folder):
                if step_of(path) > self.step:  # damaged, or the run would have resumed from it
                    path.unlink(missing_ok=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:  # a further micro-batch of an accumulated step
            return
        if self.step == self.first and trainer.is_global_zero:
            self.begun()
        self.step = trainer.global_step
        if not self.files.busy:
            self._wait()  # so that a failure is reported at the next step, and not a minute later
        what = self._what(trainer, pl_module)
        if trainer.is_last_batch:
            self.pending = what
        else:
            self._do(what, trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = True
        self._do(self.pending, trainer, pl_module)
        self.ended, self.pending = False, _NOTHING

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._wait()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Lightning counts an epoch as completed only after this; and where there is no validation, it
        # resumes from there with one batch more of the old epoch.
        if self.ended:
            loop = checkpoint["loops"]["fit_loop"]
            for count in loop["epoch_progress"].values():
                count["completed"] = count["processed"]
            batches = loop["epoch_loop.batch_progress"]
            batches |= {"current": dict.fromkeys(batches["current"], 0), "is_last_batch": False}

    def _what(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        """Whether to save, and stop; the same in every process."""
        due = self.step >= self.total or (self.steps > 0 and self.step % self.steps == 0)
        # Clocks differ: the first process says when the minutes are over.
        late = trainer.is_global_zero and not self.files.busy
        late = late and time.monotonic() - self.written >= self.seconds
        what = _STOP if self.signals.received else _SAVE if due or late else _NOTHING
        if trainer.world_size == 1:
            return what
        return int(trainer.strategy.reduce(torch.tensor(what, device=pl_module.device), reduce_op="max"))

    def _do(self, what: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if what == _NOTHING:
            return
        self.signals.ending = what == _STOP
        self._save(trainer, pl_module)
        if what == _STOP:
            self._wait()
            raise self.signals.stopped(
                f"; step {self.step} of {self.total} is saved, continue with resume={self.folder}"
            )

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._wait()
        if bad := nonfinite(pl_module.state_dict()):
            raise RunStopped(f"'{bad}' is not finite after step {self.step}; {last_good(self.folder)}")
        self.written, self.saved = time.monotonic(), self.step
        trainer.save_checkpoint(checkpoint_path(self.folder, self.step))

    def _wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        try:
            self.files.wait()
        except OSError as error:
            what = f"the checkpoint of step {self.saved}"
            raise RunStopped(trouble(error, self.folder, what)) from error
