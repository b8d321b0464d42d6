"""The run's folder is still there."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from selfsup.callbacks.checkpoint_files import gone
from selfsup.errors import RunStopped


class Present(pl.Callback):
    """Ends a run whose folder was deleted or renamed, before another callback writes into a new one.

    It is the first of the callbacks and looks up one name a step, which takes microseconds.

    Raises (while training):
        RunStopped: the folder or its configuration is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._look(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            require_there(self.folder)


def require_there(folder: Path) -> None:
    """Raise RunStopped if a run's folder is gone."""
    try:
        os.stat(folder / "config.yaml")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunStopped(gone(folder)) from error
    except OSError:  # a network file system may not answer for a while; whoever writes will see
        return
