"""In a training step of every method the CPU never waits for a GPU, or as often as the method says."""

import collections
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from selfsup.callbacks.finite import FiniteSteps
from selfsup.callbacks.guard import CollapseGuard
from selfsup.callbacks.metrics import MetricsFile, numbers
from selfsup.callbacks.skipped import SkippedImages
from selfsup.config import options
from selfsup.data.batches import Batches
from selfsup.methods.heads_first import HeadsFirst
from selfsup.objectives.devices import Later, sent
from selfsup.views import ViewPlan
from tests.methods.building import build, images
from tests.methods.pretended_gpu import DEVICE, PretendedGPU

# A step's waits, by method, and what it waits for; docs/speed.md has the same table.
WAITS = {
    "matching": (1, "the CPU assigns the cells of one view to those of the other"),
    "mmcr": (1, "the solver of singular values reports whether it has converged"),
}
LOGGED = 7  # the step that is written into the file of metrics, which is no step of these runs


class Counted(pl.Callback):
    """The waits of the second step, by the line that made them; it is the first of the callbacks."""

    def __init__(self, gpu: PretendedGPU) -> None:
        self.gpu = gpu

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.before = collections.Counter(self.gpu.waits)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.of_step = self.gpu.waits - self.before


class Quiet(CollapseGuard):
    """The guard between two looks."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.last, self.told = trainer.global_step, True

    def due(self, step: int) -> bool:
        return False


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
    """What a loader gives in pinned memory, which Lightning sends to the device."""
    for number in range(2):
        yield {
            "image": images(n, side).pin_memory(),
            "index": torch.arange(n).pin_memory(),
            "label": (torch.arange(n) % 3).pin_memory(),
            "epoch": number,
            "skipped": [],
        }


def waits(method: Any, folder: Path) -> collections.Counter[str]:
    """Of a step of a run with all that looks at every step."""
    console = Console(quiet=True)
    guard: dict[str, Any] = {"every": 100, "images": 16, "stop": False, "path": folder / "warnings.csv"}
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    with PretendedGPU() as gpu:
        gpu.move(method)
        counted = Counted(gpu)
        trainer = pl.Trainer(
            strategy=Pretended(method),
            max_steps=2,
            default_root_dir=folder,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[
                counted,
                Quiet(images(16), batch_size=16, console=console, **guard),
                MetricsFile(folder / "metrics.csv", LOGGED),
                SkippedImages(folder / "skipped.csv", 16, 0.1),
                FiniteSteps(folder, 3, str, console),
            ],
            **quiet,
        )
        make, made = method.batch, []
        method.batch = lambda *given: made.append(make(*given)) or made[-1]
        trainer.fit(method, DataLoader(list(batches()), batch_size=None))
        with torch.no_grad():
            seen = method.observe(replace(made[-1], views=made[-1].views[:2]))
    assert trainer.global_step == 2
    assert {value.device for value in seen.values()} == {DEVICE}
    return counted.of_step


@pytest.mark.parametrize("name", options("method"))
def test_a_step_waits_for_nothing(name: str, tmp_path: Path) -> None:
    found = waits(build(f"method={name}"), tmp_path)
    assert sum(found.values()) == WAITS.get(name, (0, ""))[0], found


TURNED = "views.each.turn=whole"
COMBINED = {
    "augself": ("method=barlow", "auxiliary=[augself]"),
    "distill": ("method=barlow", "auxiliary=[distill]"),
    "koleo": ("method=barlow", "auxiliary=[koleo]"),
    "rotation": ("method=simclr", "auxiliary=[rotation]", TURNED),
    "lorot": ("method=simclr", "auxiliary=[lorot]", "views.each.turn=quadrant"),
    "sla": ("method=simclr", "auxiliary=[sla]", TURNED),
    "lars": ("method=simclr", "optimizer=lars"),
    "sgd": ("method=simclr", "optimizer=sgd"),
    "convolutional": ("method=byol", "backbone=resnet10"),
    "labels": ("method=simclr", "positives=labels"),
}


@pytest.mark.parametrize("name", COMBINED)
def test_nor_does_what_a_method_is_combined_with(name: str, tmp_path: Path) -> None:
    assert waits(build(*COMBINED[name]), tmp_path) == {}


@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize("turn", ["whole", "quadrant"])
def test_views_of_all_kinds_wait_for_nothing(channels: int, turn: str) -> None:
    kind = {"count": 1, "size": 1.0, "scale": [0.2, 1], "ratio": [0.75, 1.33], "mirror": 0.5, "jitter": 0.8}
    kind |= {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.3, "blur": 0.5}
    kind |= {
        "sigma": [0.1, 2.0],
        "recipe_size": 32,
        "solarize": 0.4,
        "noise": 0.05,
        "drop": 0.1,
        "turn": turn,
    }
    plan = ViewPlan({"each": kind | {"turn": turn}}, 32, [0.5] * channels, [0.2] * channels)
    with PretendedGPU() as gpu:
        image = torch.empty(4, channels, 40, 40, dtype=torch.uint8, device=DEVICE)
        batch = {"image": image, "index": torch.arange(4, device=DEVICE)}
        views = plan(batch, 0)
        drawn = plan.drawn(0, batch["index"], 0, 40, 40)
    assert {tensor.device for tensor in [*views, *drawn.values()]} == {DEVICE}
    assert gpu.waits == {}


def test_images_on_the_device_are_gathered_there() -> None:
    source = SimpleNamespace(images=images(8), labels=torch.arange(8), relation=None)
    with PretendedGPU() as gpu:
        made = Batches(source, SimpleNamespace(of_pair=[False]), DEVICE)  # type: ignore[arg-type]
        gpu.waits.clear()  # of moving them once
        batch = made[(0, [5, 2, 1])]
    assert isinstance(batch, dict)
    assert batch["image"].shape == (3, 3, 8, 8)
    assert gpu.waits == {}


def test_heads_that_learn_first_are_released_without_waiting() -> None:
    with PretendedGPU() as gpu:
        part = HeadsFirst(nn.Linear(1, 1), 0.5)
        gpu.move(part)
        for step in range(2):
            part.gather(torch.empty((), device=DEVICE), lambda: {"trivial": 1.0})
            part.before_update(step, 10)
            part.after_step_unless(torch.zeros((), dtype=torch.bool, device=DEVICE), step, 10)
            part.forget()
    assert gpu.waits == {}


def test_what_is_logged_is_read_at_once() -> None:
    with PretendedGPU() as gpu:
        numbers({name: torch.empty((), device=DEVICE) for name in "abc"} | {"lr": 0.1})
    assert sum(gpu.waits.values()) == 1


def test_the_pretended_gpu_sees_waits() -> None:
    """Each of these makes CUDA wait, and none of those after them."""
    with PretendedGPU() as gpu:
        x = torch.zeros(4, device=DEVICE)
        waiting = [
            lambda: x.sum().item(),
            lambda: bool((x > 0).any()),
            lambda: x.cpu(),
            lambda: x.tolist(),
            lambda: x.nonzero(),
            lambda: x[x > 0],
            lambda: x[[0, 1]],
            lambda: x[torch.tensor([0])],
            lambda: torch.tensor([1.0], device=DEVICE),
            lambda: x.new_tensor([1.0]),
            lambda: torch.zeros(4).to(DEVICE),
            lambda: torch.zeros(4).to(DEVICE, non_blocking=True),  # which is not pinned
            lambda: torch.zeros(4).pin_memory().to(DEVICE),  # which does not promise
            lambda: x.copy_(torch.zeros(4)),
            lambda: torch.linalg.svdvals(x.view(2, 2)),
        ]
        for number, wait in enumerate(waiting):
            before = sum(gpu.waits.values())
            wait()
            assert sum(gpu.waits.values()) > before, number
        before = sum(gpu.waits.values())
        sent(torch.zeros(4), x)
        Later(x).read()
        x[0] = 5.0
        x[:2].where(x[:2] > 0, 1.0) + torch.where(x[:2] > 0, x[2:], 0.0) * 2
        x.index_select(0, torch.arange(2, device=DEVICE)).clamp_(0, 1).topk(1)
        assert sum(gpu.waits.values()) == before
        with pytest.raises(RuntimeError, match="of tensors on the CPU and on the device"):
            x + torch.zeros(4)


def test_the_page_has_the_waits_that_are_left() -> None:
    page = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", page.partition("## On a device")[2], re.MULTILINE)
    assert {name: (int(count), reason) for name, count, reason in rows} == WAITS
