"""What Lightning, callbacks and logging add to a step, beside a bare loop over the same batches.

    python benchmarks/overhead.py

A network of next to nothing learns by SimCLR in three forms, in turn: a loop of a few lines; the same method
in Lightning's trainer with nothing else; the run of ``selfsup train`` with its guard, metrics, online scores
and checkpoints. So that it can be seen what of their cost could be saved at all, one layer is trained by
Lightning and by a bare loop as well. Each call is added to ``benchmarks/results/overhead-cpu.json``, for on
a shared machine calls differ by more than what they measure.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from origin import keep
from rich.console import Console
from timm.layers.config import set_fused_attn
from torch import Tensor

from selfsup.callbacks.signals import StopSignals
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.run.build import make_encoder, make_method, quiet
from selfsup.run.trainer import make_trainer

RESULTS = Path(__file__).parent / "results" / "overhead-cpu.json"
WARM = 50  # steps before the clock starts
STRETCH = 50  # steps, of which a run logs five
TINY = [
    "method=simclr",
    "batch_size=16",
    "backbone.model_args={patch_size: 8, embed_dim: 16, depth: 1, num_heads: 1}",
    "method.projector={hidden: 16, out: 16}",
]


class Clock(pl.Callback):
    """Notes when a step has ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.times.append(time.perf_counter())

    def ms_a_step(self) -> float:
        """Of the fastest stretch of steps: among many, one in which no other program had the processor."""
        marks = self.times[WARM::STRETCH]
        return 1000 * min(after - before for before, after in pairwise(marks)) / STRETCH


class Layer(pl.LightningModule):
    """One linear layer that learns to give nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def by_lightning(module: pl.LightningModule, loader: Any, steps: int) -> float:
    """With Lightning's trainer and nothing else."""
    clock = Clock()
    settings = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=-1, max_steps=steps, logger=False, callbacks=[clock], **settings
    )
    trainer.fit(module, loader)
    return clock.ms_a_step()


def by_a_loop(module: pl.LightningModule, loader: Any, steps: int) -> float:
    """With nothing at all, for a module of this file."""
    return _loop(module, loader, steps, lambda batch: module.training_step(batch, 0))


def _loop(module: pl.LightningModule, loader: Any, steps: int, loss: Callable[[Any], Tensor]) -> float:
    optimizer, clock = module.configure_optimizers(), Clock()
    module.train()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
            clock.on_train_batch_end()
            if len(clock.times) == steps:
                return clock.ms_a_step()


class Tiny:
    """A run of the tiny network: what every form of it is made of."""

    def __init__(self, out: str, steps: int) -> None:
        self.config = load_config("train", [*TINY, f"trainer.max_steps={steps}", f"out={out}"])
        self.out, self.steps = Path(out), steps
        self.source, _ = load_data(self.config["data"])
        self.method = make_method(self.config, make_encoder(self.config), 1)
        order = make_order(self.source, self.config["batch_size"], 0)
        self.loader = training_loader(self.source, self.method.views, order, 0, torch.device("cpu"))

    def loop(self) -> float:
        def loss(batch: dict[str, Any]) -> Tensor:
            with torch.no_grad():
                views = self.method.views(batch, batch["epoch"])
            found: Tensor = self.method.loss(views)[0]
            return found

        return _loop(self.method, self.loader, self.steps, loss)

    def lightning(self) -> float:
        return by_lightning(self.method, self.loader, self.steps)

    def whole(self) -> float:
        clock = Clock()
        trainer = make_trainer(self.config, 1, self.out, self.source, Console(quiet=True), StopSignals())
        trainer.callbacks.append(clock)
        trainer.fit(self.method, self.loader)
        return clock.ms_a_step()


def once(steps: int) -> dict[str, float]:
    """Milliseconds a step of each form."""
    found = {}
    for form in (Tiny.loop, Tiny.lightning, Tiny.whole):
        with tempfile.TemporaryDirectory() as out:
            found[form.__name__] = form(Tiny(out, steps))
    batches = torch.utils.data.DataLoader(torch.randn(100, 8), batch_size=None)
    found["layer_loop"] = by_a_loop(Layer(), batches, steps)
    return found | {"layer_lightning": by_lightning(Layer(), batches, steps)}


def main() -> None:
    """Measure all forms, in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    quiet()
    set_fused_attn(False)
    rounds = [once(arguments.steps) for _ in range(arguments.rounds)]
    fastest = {form: round(min(each[form] for each in rounds), 3) for form in rounds[0]}
    print(fastest)
    calls = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    keep(RESULTS, {f"call {len(calls) + 1}": fastest})


if __name__ == "__main__":
    main()
