"""The time of a training step, stage by stage, next to its lower bound.

    python -m benchmarks.speed.stages --data ../shared/data               # all of cifar10_short
    python -m benchmarks.speed.stages --data ../shared/data --methods dino --steps 30

It is the run that `selfsup train experiment=cifar10_short_METHOD` makes, with its guard, metrics and
checkpoints; the stages are timed around the calls in it, a stage inside another stopping the other's clock.
The remainder is the time of Lightning, the callbacks and logging: ``rest``. The floor of a stage is its
multiplications over the rate at which this machine multiplies matrices, or the bytes it must read and write
over the rate at which it copies, both measured beside. ``benchmarks.speed.overhead`` measures ``rest``
beside a bare loop. Results go to ``benchmarks/results/stages.jsonl``, of a GPU to ``stages-gpu.jsonl``.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import METHODS, keep, of_this_device
from selfsup.build import count_classes, count_devices, count_samples, make_encoder, make_method
from selfsup.callbacks.signals import StopSignals
from selfsup.config import load_config, options
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.methods.base import Method
from selfsup.run.trainer import choose_attention, make_trainer
from selfsup.runtime import quiet
from selfsup.views import ViewPlan

ON_GPU = torch.cuda.is_available()
WARM = 5  # steps before the clock starts
STAGES = (
    "data",
    "views",
    "forward",
    "teacher",
    "heads",
    "objective",
    "backward",
    "optimizer",
    "average",
    "rest",
)


class Watch:
    """The growth of a monotonic quantity, such as the time, in each stage."""

    def __init__(self, reading: Callable[[], float]) -> None:
        self.reading, self.within = reading, ["rest"]
        self.start()

    def start(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.last = self.reading()

    def turn(self) -> None:
        """Add the time since the last turn to the current stage."""
        now = self.reading()
        self.spent[self.within[-1]] += now - self.last
        self.last = now

    def stop(self) -> None:
        """Count nothing that comes later."""
        self.turn()
        self.reading = lambda: self.last

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        self.turn()
        self.within.append(stage)
        yield
        self.turn()
        self.within.pop()

    def around(self, owner: Any, name: str, stage: str) -> None:
        """Count every call of ``owner.name`` as the stage."""
        call = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.on(stage):
                return call(*args, **kwargs)

        setattr(owner, name, counted)


def attach(watch: Watch, method: Method, trainer: pl.Trainer) -> None:
    """Set a watch around the parts of a step."""
    watch.around(method, "loss", "objective")
    watch.around(method, "after_step", "average")
    watch.around(method, "configure_gradient_clipping", "optimizer")
    watch.around(trainer.strategy, "backward", "backward")
    for name, module in method.named_children():
        teacher = name.startswith("teacher")
        if hasattr(module, "sequence"):  # an encoder
            for call in ("forward", "sequence"):
                watch.around(module, call, "teacher" if teacher else "forward")
        else:
            watch.around(module, "forward", "teacher" if teacher else "heads")
    if hasattr(method, "decode"):
        watch.around(method, "decode", "heads")
    make = method.configure_optimizers

    def watched() -> torch.optim.Optimizer:
        optimizer = make()
        step = optimizer.step

        def stepped(closure: Callable[[], Any]) -> Any:
            # The closure is the whole forward and backward pass.
            def inside() -> Any:
                with watch.on("rest"):
                    return closure()

            with watch.on("optimizer"):
                return step(closure=inside)

        optimizer.step = stepped
        watch.around(optimizer, "zero_grad", "optimizer")
        return optimizer

    method.configure_optimizers = watched


class Begin(pl.Callback):
    """Starts the watch when the run is warm, counts the steps from then on, and stops it after the last."""

    def __init__(self, watch: Watch, loader: Any, warm: int, last: int) -> None:
        self.watch, self.loader, self.warm, self.last, self.steps = watch, loader, warm, last, 0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.steps = trainer.global_step - self.warm
        if self.steps == 0:
            self.waited = self.loader.waited
            self.watch.start()
        elif trainer.global_step == self.last:
            self.watch.stop()


def spent(
    settings: list[str], steps: int, warm: int, reading: Callable[[], float], by_stage: bool = True
) -> dict[str, Any]:
    """The growth of ``reading`` in each stage or, whole, in ``rest``, a step; and the basis of the floor."""
    with tempfile.TemporaryDirectory() as out:
        Path(out, "config.yaml").touch()  # without it the trainer takes the run's folder for deleted
        config = load_config("train", [*settings, f"trainer.max_steps={warm + steps}", f"out={out}"])
        choose_attention(config["trainer"])
        source, _ = load_data(config["data"])
        devices = count_devices(config["trainer"], ON_GPU)
        count_samples(config, len(source))
        count_classes(config, source)
        method = make_method(config, make_encoder(config), devices)
        trainer = make_trainer(config, devices, Path(out), source, Console(quiet=True), StopSignals())
        order = make_order(source, config["batch_size"], config["seed"])
        loader = training_loader(source, method.views, order, 0, trainer.strategy.root_device)
        method = method.to(memory_format=torch.channels_last)
        watch = Watch(reading)
        begin = Begin(watch, loader, warm, warm + steps)
        trainer.callbacks.append(begin)
        views = ViewPlan.__call__
        if by_stage:
            attach(watch, method, trainer)
            with patch.object(ViewPlan, "__call__", lambda *args: _within(watch, views, args)):
                trainer.fit(method, loader)
        else:
            trainer.fit(method, loader)
    if reading is now:
        waited = loader.waited - begin.waited
        watch.spent["data"] += waited
        watch.spent["rest"] -= waited
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    averaged = sum(p.numel() for p in method.parameters() if not p.requires_grad)
    image = source.images[0].numel() * config["batch_size"]
    return {
        "batch": config["batch_size"],
        "precision": trainer.precision,
        "spent": {stage: watch.spent[stage] / begin.steps for stage in STAGES},
        # Bytes that a stage has to read or write.
        "bytes": {
            "data": 2 * image,
            "views": sum(
                image + 4 * method.views.channels * height * width * config["batch_size"]
                for height, width in method.views.sizes
            ),
            # Weight, gradient and two averages are read, all but the gradient written.
            "optimizer": 4 * 7 * trained,
            "average": 4 * 3 * averaged,
        },
    }


def gflops_a_step(settings: list[str]) -> float:
    """Multiplications and additions, in 10⁹, of a step of training: forward, teacher and backward."""
    return sum(_operations(settings).values()) / 1e9


def _operations(settings: list[str]) -> dict[str, float]:
    with FlopCounterMode(display=False) as counter:
        found = spent([*settings, "guard.enabled=false", "online=none"], 2, 1, counter.get_total_flops)
    return dict(found["spent"])


def _within(watch: Watch, call: Callable[..., Any], args: Any) -> Any:
    with watch.on("views"):
        return call(*args)


def now() -> float:
    """Seconds; on a GPU after all its work is done."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(precision: str) -> float:
    """Operations a second of large matrix products: the best of several."""
    device = "cuda" if ON_GPU else "cpu"
    width = 8192 if device == "cuda" else 2048
    kind = torch.bfloat16 if "bf16" in precision else torch.float32
    a = torch.randn(width, width, device=device, dtype=kind)
    return 2 * width**3 / min(_seconds(lambda: a @ a) for _ in range(10))


def copy_rate() -> float:
    """Bytes a second that are read and written in copying a large block."""
    a = torch.empty(2**28, dtype=torch.uint8, device="cuda" if ON_GPU else "cpu")
    b = torch.zeros_like(a)
    return 2 * a.numel() / min(_seconds(lambda: b.copy_(a)) for _ in range(10))


def _seconds(work: Callable[[], Any]) -> float:
    started = now()
    work()
    return now() - started


def profile(settings: list[str], steps: int) -> dict[str, Any]:
    """The stages of a run: milliseconds a step, the floor, and the billions of operations."""
    timed = spent(settings, steps, WARM, now)
    counted = _operations(settings)
    rate, bandwidth = matrix_rate(timed["precision"]), copy_rate()
    rows = []
    for stage in STAGES:
        flops = counted[stage]
        floor = flops / rate + timed["bytes"].get(stage, 0) / bandwidth
        ms = 1000 * timed["spent"][stage]
        rows.append(
            {
                "stage": stage,
                "ms": round(ms, 3),
                "floor_ms": round(1000 * floor, 3),
                "gflops": round(flops / 1e9, 4),
            }
        )
    total = sum(row["ms"] for row in rows)
    return {
        "batch": timed["batch"],
        "precision": timed["precision"],
        "gflops_a_second_of_matrices": round(rate / 1e9, 1),
        "gigabytes_a_second_of_copies": round(bandwidth / 1e9, 2),
        "images_per_second": round(1000 * timed["batch"] / total, 1),
        "stages": rows,
    }


def main() -> None:
    """Profile the methods that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    short = [name for name in METHODS if f"cifar10_short_{name}" in options("experiment")]
    parser.add_argument("--methods", nargs="*", choices=short, default=short)
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    quiet()
    for method in arguments.methods:
        settings = [f"experiment=cifar10_short_{method}", "data=parquet"]
        settings.append(f"data.train={arguments.data}/cifar10-train.parquet[:5000]")
        found = profile(settings, arguments.steps)
        print(method, found)
        keep(of_this_device("stages"), [{"method": method, **found}], "method")


if __name__ == "__main__":
    main()
