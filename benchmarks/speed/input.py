"""Whether the input keeps up: a step's wait for data, memory over an epoch of tar shards, decoding.

    uv run python -m benchmarks.speed.input                         # all
    uv run python -m benchmarks.speed.input --cases training --steps 20

``training`` is SimCLR with resnet18 on the CIFAR-10 of ``SELFSUP_DATA`` or ``../shared/data``, in the trainer
that ``selfsup train`` makes, without its callbacks. On a CPU it runs some steps; on a GPU two epochs in
bfloat16, the first synchronising the device between stages, to separate them, the second without. ``memory``
reads an epoch of 200,000 small JPEG files from 200 tar shards, made in a temporary folder, with two processes
that decode, and makes their views. ``decoding`` is the work of one of those processes on photographs of 256
pixels on the shorter side, in JPEG of quality 90: two crops of 224 pixels.

Results go to ``benchmarks/results/input.jsonl``, or ``input-gpu.jsonl``. ``benchmarks.speed.index`` times the
start of a folder of a million files.
"""

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as our commands do, before torch is imported

import numpy as np
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from PIL import Image

from benchmarks.rows import keep, of_this_device
from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.data import ImageFiles, load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.data.readers.crops import read_crops
from selfsup.run.trainer import trainer_settings
from selfsup.runtime import keep_freed_memory, quiet
from selfsup.views import ViewPlan

DATA = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))
WARM_UP = 2  # steps that are not counted: they compile and allocate memory
SHARDS, EACH = 200, 1000


class Stages(pl.Callback):
    """Seconds of steps, and their shares for waiting for a batch and for its views."""

    def __init__(self, method: Any, apart: bool) -> None:
        self.apart = apart and torch.cuda.is_available()
        self.seconds = {"waiting": 0.0, "views": 0.0, "step": 0.0}
        self.batches = 0
        self.plan, method.views = method.views, self

    def __call__(self, batch: Mapping[str, Any], epoch: int) -> Any:
        began = self.now()
        views = self.plan(batch, epoch)
        self.seconds["views"] += self.now() - began
        return views

    def on_train_start(self, *_: Any) -> None:
        self.ended = self.now()

    def on_train_batch_start(self, *_: Any) -> None:
        self.seconds["waiting"] += self.now() - self.ended

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        now = self.now()
        self.seconds["step"] += now - self.ended
        self.ended, self.batches = now, self.batches + 1
        if self.batches == WARM_UP:
            self.seconds = dict.fromkeys(self.seconds, 0.0)

    def now(self) -> float:
        if self.apart:
            torch.cuda.synchronize()
        return time.perf_counter()


def training(steps: int) -> dict[str, Any]:
    """The shares of a training step for waiting for data and for its views."""
    on_gpu = torch.cuda.is_available()
    batch = 512 if on_gpu else 64
    config = load_config(
        "train",
        [
            *("method=simclr", "backbone=resnet18", f"batch_size={batch}", "evaluate=false"),
            *("data=parquet", f"data.train={DATA}/cifar10-train.parquet"),
            *(f"data.test={DATA}/cifar10-test.parquet", "trainer.max_epochs=2"),
        ],
    )
    source, _ = load_data(config["data"])
    found: dict[str, Any] = {"images": len(source), "batch": batch}
    for apart in (True, False) if on_gpu else (False,):
        method = make_method(config, make_encoder(config), 1).to(memory_format=torch.channels_last)
        stages = Stages(method, apart)
        settings = trainer_settings(config, 1) | {"max_steps": -1 if on_gpu else steps + WARM_UP}
        trainer = pl.Trainer(**settings, logger=False, enable_checkpointing=False, callbacks=[stages])
        order = make_order(source, batch, config["seed"])
        loader = training_loader(source, stages.plan, order, 0, trainer.strategy.root_device)
        trainer.fit(method, loader)
        counted = stages.batches - WARM_UP
        ms = {stage: 1000 * seconds / counted for stage, seconds in stages.seconds.items()}
        share = (ms["waiting"] + ms["views"]) / ms["step"]
        if apart or not on_gpu:
            found |= {"precision": settings["precision"], "steps": counted, "ms": ms, "share_of_input": share}
        else:
            found["epoch_seconds"] = ms["step"] / 1000 * len(order)
    return found


def make_shards(folder: Path) -> None:
    """200 shards of 1,000 JPEG files of 32 pixels and their labels."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(500):
        stream = io.BytesIO()
        noise = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((40, 32 + len(files) % 9)).save(stream, "JPEG")
        files.append(stream.getvalue())
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:04}.tar", "w") as tar:
            for i in range(EACH):
                members = {"jpg": files[(shard + i) % len(files)], "cls": str(i % 10).encode()}
                for ending, content in members.items():
                    about = tarfile.TarInfo(f"{shard * EACH + i:07}.{ending}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))


def memory() -> dict[str, Any]:
    """Memory of this process and of those that decode, at twenty points of an epoch."""
    with tempfile.TemporaryDirectory() as name:
        make_shards(Path(name))
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        config = load_config(
            "train",
            [
                *("method=simclr", "backbone=resnet18", "data=shards", f"data.train={name}"),
                *("data.source.test_fraction=0.005", "data.in_memory=false", "data.image_size=32"),
            ],
        )
        source, _ = load_data(config["data"])
        data = config["data"]
        plan = ViewPlan(config["views"], data["image_size"], data["mean"], data["std"], native=True)
        order = make_order(source, 500, 0)
        points, seen, began = [], 0, time.perf_counter()
        for number, batch in enumerate(training_loader(source, plan, order, 2)):
            plan(batch, batch["epoch"])
            seen += len(batch["index"])
            if (number + 1) % (len(order) // 20) == 0:
                points.append({"samples": seen, "mib": round(_private_mib(), 1)})
        seconds = time.perf_counter() - began
    return {
        "shards": SHARDS,
        "samples": seen,
        "samples_a_second": round(seen / seconds),
        "growth_mib": round(points[-1]["mib"] - points[1]["mib"], 1),
        "points": points,
    }


def decoding() -> dict[str, Any]:
    """Photographs that one thread decodes and crops for two views, a second, and their size in bytes."""
    column = pq.read_table(DATA / "flowers-train.parquet", columns=["image"])["image"]
    files = []
    for row in column[:128].to_pylist():
        image = Image.open(io.BytesIO(row["bytes"])).convert("RGB")
        by = 256 / min(image.size)
        stream = io.BytesIO()
        image.resize((round(image.width * by), round(image.height * by)), Image.Resampling.LANCZOS).save(
            stream, "JPEG", quality=90
        )
        files.append(stream.getvalue())
    config = load_config("train", ["method=simclr", "data=folder", "data.root=."])
    data = config["data"]
    plan = ViewPlan(config["views"], data["image_size"], data["mean"], data["std"])
    torch.set_num_threads(1)
    seconds = []
    for epoch in range(5):
        began = time.perf_counter()
        read_crops(ImageFiles(files), list(range(len(files))), plan, epoch)
        seconds.append(time.perf_counter() - began)
    rate, size = len(files) / min(seconds), sum(map(len, files)) / len(files)
    return {"images_a_second": round(rate), "bytes_an_image": round(size)}


def _private_mib() -> float:
    """Memory of this process and its children without files' pages, in MiB; shared memory counts once."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    total = 0
    for process in [str(own), *children]:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        fields = dict(line.split(":", 1) for line in lines)
        # Batches travel in shared memory.
        total += sum(int(fields[key].split()[0]) for key in ("Pss_Anon", "Pss_Shmem"))
    return total / 1024


# Memory first, while this process holds nothing else.
CASES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "memory": lambda arguments: memory(),
    "training": lambda arguments: training(arguments.steps),
    "decoding": lambda arguments: decoding(),
}


def main() -> None:
    """Measure what the command line asks for."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--steps", type=int, default=12, help="of training on a CPU")
    arguments = parser.parse_args()
    quiet()
    keep_freed_memory()
    torch.manual_seed(0)
    for case in arguments.cases:
        found = CASES[case](arguments)
        print(json.dumps({case: found}, indent=2))
        keep(of_this_device("input"), [{"part": case, **found}], "part")


if __name__ == "__main__":
    main()
