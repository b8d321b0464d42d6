"""Curation while training: every few epochs the run chooses the images that it learns from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor

from selfsup.curation.balance import balanced
from selfsup.curation.draws import draws
from selfsup.curation.hierarchy import hierarchy, level_sizes
from selfsup.data import Source
from selfsup.data.decisions import DECIDED
from selfsup.data.kept_order import KeptOrder
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation import extract
from selfsup.evaluation.classifiers.neighbours import unit
from selfsup.evaluation.features.images import fitting
from selfsup.files import write_text, written_whole
from selfsup.terminal import say


class Curation(pl.Callback):
    """Keeps a share of the training images, balanced over clusters of the features of the current encoder.

    After a warm-up, every few epochs, all training images are embedded without augmentation, their unit
    features are clustered by hierarchical k-means with resampling (arXiv:2405.15613), and a share is taken
    from the tree, evenly from the top down. The next epochs learn from these (dynamic curation,
    arXiv:2504.06962); an image that is left out may come back. The positions are written whole into the run's
    folder, as ``kept-after-6-epochs.npy``, before the checkpoint that ends the epoch, so that a run that was
    killed resumes in the same order. Images are chosen at the run's end, too, so that a run that is extended
    goes on as a longer one would. Several processes share the images to embed, and the first one chooses.

    Args:
        source: the training images.
        order: of the run's samples.
        folder: of the run.
        settings: as in ``configs/curation/balanced.yaml``.
        workers: processes that decode, for a source that decodes on demand.
        console: prints one line per choice.
    """

    def __init__(
        self,
        source: Source,
        order: KeptOrder,
        folder: Path,
        settings: Mapping[str, Any],
        workers: int,
        console: Console,
    ) -> None:
        self.source, self.order, self.folder, self.settings = source, order, folder, settings
        self.workers, self.console = workers, console

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if not due(self.settings, epoch):
            return
        encoder: Encoder = pl_module.learned_encoder()
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            x, index = self._features(encoder)
        own = self._chosen(x, index, epoch) if trainer.is_global_zero else index
        chosen: Tensor = trainer.strategy.broadcast(own)
        self.order.keep(epoch, chosen)
        if trainer.is_global_zero:
            write_kept(self.folder, self.order, epoch)
            self.source.decisions.kept = described(self.order)
            write_text(self.folder / DECIDED, self.source.decisions.as_file())
            share = f"{len(chosen)} of {len(self.source)} images"
            say(self.console, f"after epoch {epoch}, curation: {share} are kept, balanced over clusters")

    def _features(self, encoder: Encoder) -> tuple[Tensor, Tensor]:
        features = extract(
            encoder,
            self.source,
            fitting(encoder),
            encoder.mean,
            encoder.std,
            precision=self.settings["precision"],
            workers=self.workers,
        )
        return features.x, features.index

    def _chosen(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        draw = draws((self.order.seed << 20) + epoch)
        amount = {key: self.settings[key] for key in ("rounds", "iterations")}
        levels = hierarchy(unit(x), level_sizes(len(x)), draw, **amount)
        return index[balanced(levels, round(self.settings["share"] * self.order.samples), draw)]


def due(settings: Mapping[str, Any], epoch: int) -> bool:
    """Whether the images are chosen anew before this epoch, counted from 0.

    >>> [epoch for epoch in range(9) if due({"warmup_epochs": 3, "every_epochs": 2}, epoch)]
    [3, 5, 7]
    """
    since = epoch - settings["warmup_epochs"]
    return since >= 0 and since % settings["every_epochs"] == 0


def file_of(folder: Path, epoch: int) -> Path:
    """The positions that are learned from after so many epochs."""
    return folder / f"kept-after-{epoch}-epochs.npy"


def write_kept(folder: Path, order: KeptOrder, epoch: int) -> None:
    """Write the choice that holds from an epoch on, whole or not at all."""
    with written_whole(file_of(folder, epoch)) as file:
        np.save(file, order.kept[epoch].numpy())


def read_kept(folder: Path, order: KeptOrder, settings: Mapping[str, Any], epoch: int) -> None:
    """Take up the choices of a run that is resumed in an epoch.

    Raises:
        UsageError: a file is missing, or holds something other than a choice of this run.
    """
    for begin in filter(lambda number: due(settings, number), range(1, epoch + 1)):
        path = file_of(folder, begin)
        try:
            positions = np.load(path, allow_pickle=False)
            if positions.dtype != np.int64 or positions.ndim != 1:
                raise ValueError("it does not hold one row of positions")
            if len(positions) and (positions[0] < 0 or positions[-1] >= order.samples):
                raise ValueError("it holds positions that no image has")
            if (np.diff(positions) <= 0).any():
                raise ValueError("its positions do not ascend")
            order.keep(begin, torch.from_numpy(positions))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"'{path}' says which images the run learns from, and cannot be used ({error}); put it back, "
                "or start a new run"
            ) from error


def described(order: KeptOrder) -> str:
    """The choices in a sentence, for whoever reads about the data of a run; empty if there are none."""
    if not order.kept:
        return ""
    counts = ", ".join(f"{len(kept)} after epoch {epoch}" for epoch, kept in order.kept.items())
    return f"chosen while training, balanced over clusters, of {order.samples} images: {counts}"
