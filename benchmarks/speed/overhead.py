"""The overhead of Lightning, callbacks and logging in a step, next to a bare loop over the same batches.

    python -m benchmarks.speed.overhead

A tiny network learns by SimCLR in three forms: a loop of a few lines; the same method in
Lightning's trainer with nothing else; the run of ``selfsup train`` with its guard, metrics, online scores
and checkpoints. To show how much of their cost could be saved, one layer is also trained by Lightning and by
a bare loop. The forms run side by side in one process, each for a stretch of steps while the others wait, and
the difference of two is the median over such rounds: a neighbour on the machine slows all forms of a round.
Results go to ``benchmarks/results/overhead.jsonl``.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.rows import keep
from selfsup.build import make_encoder, make_method
from selfsup.callbacks.signals import StopSignals
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.run.trainer import choose_attention, make_trainer
from selfsup.runtime import look_for_gpus_once, quiet

STRETCH = 50  # steps; a run logs in five of them and checks the guard's probe in one
TINY = [
    "method=simclr",
    "batch_size=16",
    "backbone.model_args={patch_size: 8, embed_dim: 16, depth: 1, num_heads: 1}",
    "method.projector={hidden: 16, out: 16}",
    "trainer.precision=32-true",  # in all forms: the cost of bfloat16 in a tiny network is not measured here
]
Ended = Callable[[], None]  # called when a step has ended


class Turns:
    """Runs training loops, each in a thread of its own, in turn, a stretch of steps at a time."""

    def __init__(self, forms: Sequence[str]) -> None:
        self.order, self.changed = list(forms), threading.Condition()
        self.ms: dict[str, list[float]] = {form: [] for form in forms}  # a step, of every stretch

    @contextmanager
    def of(self, form: str) -> Iterator[Ended]:
        """Wait for the form's first turn; the others continue even if it fails."""
        self._wait(form)
        steps, started = 0, time.perf_counter()

        def ended() -> None:
            nonlocal steps, started
            steps += 1
            if steps % STRETCH == 0:
                self.ms[form].append(1000 * (time.perf_counter() - started) / STRETCH)
                with self.changed:
                    self.order.append(self.order.pop(0))
                    self.changed.notify_all()
                self._wait(form)
                started = time.perf_counter()

        try:
            yield ended
        finally:
            with self.changed:
                self.order.remove(form)
                self.changed.notify_all()

    def _wait(self, form: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.order[0] == form)


class StepEnd(pl.Callback):
    """Calls a function when a step has ended."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended

    def on_train_batch_end(self, *args: Any) -> None:
        self.ended()


class Layer(pl.LightningModule):
    """One linear layer that learns to give nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def by_lightning(module: pl.LightningModule, loader: Any, steps: int, ended: Ended) -> None:
    """With Lightning's trainer and nothing else."""
    settings = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=steps,
        logger=False,
        callbacks=[StepEnd(ended)],
        **settings,
    )
    trainer.fit(module, loader)


def by_a_loop(
    module: pl.LightningModule, loader: Any, steps: int, ended: Ended, loss: Callable[[Any], Tensor]
) -> None:
    """In a bare loop."""
    optimizer, done = module.configure_optimizers(), 0
    module.train()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
            ended()
            done += 1
            if done == steps:
                return


class Tiny:
    """A run of the tiny network: the parts of every form."""

    def __init__(self, out: str, steps: int) -> None:
        self.config = load_config("train", [*TINY, f"trainer.max_steps={steps}", f"out={out}"])
        self.out, self.steps = Path(out), steps
        choose_attention(self.config["trainer"])
        self.source, _ = load_data(self.config["data"])
        self.method = make_method(self.config, make_encoder(self.config), 1)
        order = make_order(self.source, self.config["batch_size"], 0)
        self.loader = training_loader(self.source, self.method.views, order, 0, torch.device("cpu"))

    def loop(self, ended: Ended) -> None:
        def loss(batch: dict[str, Any]) -> Tensor:
            return self.method.loss(self.method.batch(batch)).loss

        by_a_loop(self.method, self.loader, self.steps, ended, loss)

    def lightning(self, ended: Ended) -> None:
        by_lightning(self.method, self.loader, self.steps, ended)

    def whole(self, ended: Ended) -> None:
        (self.out / "config.yaml").touch()  # without it the trainer takes the run's folder for deleted
        trainer = make_trainer(self.config, 1, self.out, self.source, Console(quiet=True), StopSignals())
        trainer.callbacks.append(StepEnd(ended))
        trainer.fit(self.method, self.loader)


FORMS = ("loop", "lightning", "whole", "layer_loop", "layer_lightning")


def train(form: str, turns: Turns, steps: int) -> None:
    """A form from beginning to end, in its turns."""
    with turns.of(form) as ended, tempfile.TemporaryDirectory() as out:
        if form.startswith("layer"):
            layer, batches = Layer(), torch.utils.data.DataLoader(torch.randn(100, 8), batch_size=None)
            if form == "layer_loop":
                by_a_loop(layer, batches, steps, ended, lambda batch: layer.training_step(batch, 0))
            else:
                by_lightning(layer, batches, steps, ended)
        else:
            getattr(Tiny(out, steps), form)(ended)


def added(form: Sequence[float], loop: Sequence[float]) -> dict[str, float]:
    """A form's overhead over a loop in milliseconds a step: the median of the rounds, and its 95 % interval.

    By the order statistics ``n / 2 ± sqrt(n)``, between which the median lies with a probability of 0.95.
    """
    more = sorted(one - other for one, other in zip(form, loop, strict=True))
    middle, reach = len(more) / 2, len(more) ** 0.5
    low, high = more[max(0, int(middle - reach))], more[min(len(more) - 1, int(middle + reach))]
    return {"ms": round(statistics.median(more), 3), "low": round(low, 3), "high": round(high, 3)}


def main() -> None:
    """Measure all forms, in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help=f"stretches of {STRETCH} steps a form")
    rounds = parser.parse_args().rounds
    quiet()
    look_for_gpus_once()
    turns = Turns(FORMS)
    with ThreadPoolExecutor(len(FORMS)) as threads:
        # The first stretch warms up.
        for form in [threads.submit(train, form, turns, STRETCH * (rounds + 1)) for form in FORMS]:
            form.result()
    ms = {form: each[1:] for form, each in turns.ms.items()}
    found = {
        "rounds": rounds,
        "ms_a_step": {form: round(statistics.median(each), 3) for form, each in ms.items()},
        "layer": added(ms["layer_lightning"], ms["layer_loop"]),
        "lightning": added(ms["lightning"], ms["loop"]),
        "whole": added(ms["whole"], ms["loop"]),
        "ours": added(ms["whole"], ms["lightning"]),
    }
    print(found)
    keep("overhead", [{"part": "added", **found}], "part")


if __name__ == "__main__":
    main()
