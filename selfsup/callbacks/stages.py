"""The encoder at the end of each stage of a run that learns from one data set after another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from selfsup.callbacks.kept import keep_encoder
from selfsup.data.stage_order import StageOrder


def stage_folders(folder: Path) -> list[Path]:
    """The encoders of stages that a run keeps."""
    return sorted(path for path in folder.glob("encoder-stage-*") if not path.suffix)


def stage_folder(folder: Path, number: int) -> Path:
    """Where a run keeps the encoder of a stage, numbered from 0."""
    return folder / f"encoder-stage-{number + 1}"


class StageEncoders(pl.Callback):
    """Keeps the encoder of each stage but the last, whose encoder is the run's.

    Args:
        order: of the run's samples.
        folder: of the run.
        card: the encoder's card.
    """

    def __init__(self, order: StageOrder, folder: Path, card: Mapping[str, Any]) -> None:
        self.order, self.folder, self.card = order, folder, card

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        number = self.order.stage(trainer.current_epoch)
        if not trainer.is_global_zero or self.order.stage(trainer.current_epoch + 1) == number:
            return
        card = {**self.card, "steps": trainer.global_step, "stage": self.order.stages[number].name}
        keep_encoder(pl_module.learned_encoder(), stage_folder(self.folder, number), card)
