"""Further output for a logger: pictures of views and of neighbours, and the encoder."""

import copy
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from selfsup.data import Source
from selfsup.encoder import Encoder, save_encoder, write_model_card
from selfsup.report.embedding import FEWEST, nearest
from selfsup.report.gallery import denormalised, make_gallery
from selfsup.report.learner import few
from selfsup.report.pictures import false_colours, framed, sheet_of, visible

IMAGES, GFLOPS, ROWS, NEAR = 200, 100.0, 8, 8
PATIENCE = 300.0  # seconds for which a run waits at its end for the upload of its encoder


class Share(pl.Callback):
    """Sends pictures to Weights & Biases and TensorBoard, and the encoder to the former.

    Neither names of images nor paths are shared.

    Args:
        source: training images.
        card: the encoder's card.
        private: whether this machine's paths are kept private.
    """

    def __init__(self, source: Source, card: Mapping[str, Any], private: bool) -> None:
        self.source, self.card, self.private = source, card, private

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        views = few(pl_module, self.source)[1].views
        height, width = (max(view.shape[axis] for view in views) for axis in (-2, -1))
        shown = [framed(visible(denormalised(view, pl_module.encoder)), height, width) for view in views]
        name = _named("views", pl_module.views.channels)
        self._tell(trainer, partial(show, name=name, image=sheet_of(torch.stack(shown, 1)), step=0))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        step = trainer.global_step
        encoder = copy.deepcopy(pl_module.learned_encoder()).eval()
        gallery = make_gallery(encoder, self.source, IMAGES, GFLOPS)  # which all processes share
        if not trainer.is_global_zero:
            return
        if len(gallery) >= FEWEST:
            rows = torch.arange(min(ROWS, len(gallery)))
            near = nearest(gallery.x, min(NEAR, len(gallery) - 1))[rows]
            image = sheet_of(gallery.tiles[torch.cat([rows[:, None], near], dim=1)])
            name = _named("neighbours", gallery.channels)
            self._tell(trainer, partial(show, name=name, image=image, step=step))
        card = {**self.card, "steps": step}
        hand = partial(hand_encoder, encoder=encoder.cpu(), card=card, private=self.private)
        self._tell(trainer, hand, patience=PATIENCE)

    def _tell(self, trainer: pl.Trainer, call: Any, **settings: float) -> None:
        loggers: list[Any] = list(trainer.loggers)
        for logger in loggers:
            logger.share(call, **settings)


def show(logger: Any, name: str, image: Tensor, step: int) -> None:
    """Give a logger an image, uint8 ``(3, H, W)``, if it takes images."""
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [image.permute(1, 2, 0).numpy()], step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step)


def hand_encoder(logger: Any, encoder: Encoder, card: Mapping[str, Any], private: bool) -> None:
    """Give Weights & Biases the encoder's folder as an artefact of the run.

    For a private offline run it is the folder ``encoder`` of the run's files instead: an artefact that waits
    for ``wandb sync`` is recorded with its path in the user's home.
    """
    if not isinstance(logger, WandbLogger):
        return
    import wandb

    run = logger.experiment
    with tempfile.TemporaryDirectory() as temporary:
        in_files = private and run.offline
        folder = save_encoder(encoder, Path(run.dir if in_files else temporary) / "encoder", dict(card))
        write_model_card(folder)
        if in_files:
            run.save(f"{folder}/*", base_path=run.dir, policy="end")
        else:
            artefact = wandb.Artifact(f"encoder-{run.id}", type="model")
            artefact.add_dir(str(folder))
            run.log_artifact(artefact)


def _named(name: str, channels: int) -> str:
    """A picture's name, with the channels that it shows where they are not colours."""
    said = false_colours(channels)
    return f"{name} ({said[0].lower()}{said[1:].rstrip('.')})" if said else name
