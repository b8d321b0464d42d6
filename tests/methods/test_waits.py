"""In a training step of every method the CPU never waits for a GPU, or as often as the method says."""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from rich.console import Console
from torch.utils.data import DataLoader

from selfsup.callbacks.finite import FiniteSteps
from selfsup.callbacks.metrics import MetricsFile
from selfsup.callbacks.skipped import SkippedImages
from selfsup.config import options
from tests.methods.building import build, images
from tests.methods.pretended_gpu import DEVICE, PretendedGPU

# A step's waits, by method, and why they cannot be left out; docs/speed.md has the same.
WAITS = {"matching": (1, "the CPU solves the assignment of places")}
COLOURED = ("data.colour=0.8", "data.blur=0.5", "data.solarize=0.2", "data.mirror=0.5")


class Counted(pl.Callback):
    """The waits between the beginnings of the second and the third step, by the line that made them."""

    def __init__(self, gpu: PretendedGPU) -> None:
        self.gpu, self.seen = gpu, []  # type: ignore[var-annotated]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(collections.Counter(self.gpu.waits))

    @property
    def of_step(self) -> collections.Counter[str]:
        return self.seen[2] - self.seen[1]


class Pretended(SingleDeviceStrategy):
    """A strategy whose module is on the pretended GPU already."""

    def __init__(self, method: Any) -> None:
        super().__init__(device=DEVICE, accelerator=CPUAccelerator())
        method.__dict__["_device"] = DEVICE

    def setup_environment(self) -> None:
        pass

    def model_to_device(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def batches(n: int = 16, side: int = 8) -> Iterator[dict[str, Any]]:
    """What a loader gives, on the device already, as images in memory are."""
    for number in range(3):
        yield {
            "image": images(n, side).to(DEVICE),
            "index": torch.arange(n).to(DEVICE),
            "label": (torch.arange(n) % 3).to(DEVICE),
            "epoch": number,
            "skipped": [],
        }


def waits(method: Any, folder: Path, **settings: Any) -> collections.Counter[str]:
    """Of a step of a run."""
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    quiet |= {"enable_model_summary": False, "use_distributed_sampler": False}
    with PretendedGPU() as gpu:
        gpu.move(method)
        counted, console = Counted(gpu), Console(quiet=True)
        trainer = pl.Trainer(
            strategy=Pretended(method),
            max_steps=3,
            default_root_dir=folder,
            callbacks=[
                counted,
                MetricsFile(folder / "metrics.csv", 50),
                SkippedImages(folder / "skipped.csv", 16, 0.1),
                FiniteSteps(folder, 3, str, console),
            ],
            **quiet,
            **settings,
        )
        trainer.fit(method, DataLoader(list(batches()), batch_size=None))
    return counted.of_step


@pytest.mark.parametrize("name", options("method"))
def test_a_step_waits_for_nothing(name: str, tmp_path: Path) -> None:
    found = waits(build(f"method={name}", *COLOURED), tmp_path)
    assert sum(found.values()) == WAITS.get(name, (0, ""))[0], found
