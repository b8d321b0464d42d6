"""Writes checkpoints while training continues: it waits for a copy in memory, not for the disk."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from selfsup.callbacks.checkpoint_files import checkpoints, read_checkpoint
from selfsup.files import written_whole


class WholeFiles(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoints, whole or not at all and without unpickling code.

    What is saved is copied at once, and written by a thread while training goes on: one checkpoint at a
    time, so that there is one copy and the next waits for the last. The newest in a run's folder are kept.

    Args:
        keep: how many stay.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.wait()
        content = apply_to_collection(checkpoint, Tensor, _copied)
        self.thread = threading.Thread(target=self._work, args=(content, Path(path)), name="checkpoint")
        self.thread.start()

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.thread is not None and self.thread.is_alive()

    def wait(self) -> None:
        """Wait until the checkpoint that is being written, if any, is on the disk.

        Raises:
            OSError: it could not be written; the disk is full, for instance. It is raised once.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def teardown(self) -> None:
        self.wait()

    def _work(self, content: dict[str, Any], path: Path) -> None:
        try:
            write_checkpoint(content, path)
            for old in checkpoints(path.parents[1])[: -self.keep]:
                old.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            self.error = error


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint's file, whole or not at all.

    Raises:
        OSError: the disk is full, or refuses otherwise.
    """
    path.parent.mkdir(exist_ok=True)  # not the run's folder, which somebody may have removed
    with written_whole(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch finds its file shorter than it should be, and hides why.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
