"""Whether beginning from weights helps: runs that continue or distil others, beside runs that do neither.

    python -m benchmarks.quality.transfer --runs runs/transfer                   # all, one after another
    python -m benchmarks.quality.transfer --runs runs/transfer --only digits-distilled

Each run is the command a user would type, in a process of its own; ``{NAME}`` in it is the folder of another
run, which is made first. A row of ``benchmarks/results/transfer.jsonl`` has a run's results, and how far its
scores are from those of another run on the same test images.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import keep
from selfsup.evaluation.results.comparison import difference
from selfsup.runtime import quiet


def parquet(train: str, test: str) -> str:
    return f"data=parquet data.train={{data}}/{train} data.test={{data}}/{test} data.image_size=32"


CIFAR = parquet("cifar10-train.parquet[:10000]", "cifar10-test.parquet")
TINY = parquet("tinyimagenet50-train.parquet[:10000]", "tinyimagenet50-val.parquet")
FLOWERS = parquet("flowers-train.parquet", "flowers-val.parquet")
FIGURES = "data=digits data.image_size=32"
COLOURS = "views.each.brightness=0.4 views.each.contrast=0.4 views.each.saturation=0.4 views.each.hue=0.1"
SIMCLR = f"method=simclr batch_size=64 method.optimizer.lr_batch=64 {COLOURS}"
DIGITS = "backbone=resnet10 batch_size=64 data.image_size=16 data.min_area=0.85"
RATE = "method.optimizer.lr=4e-3 method.optimizer.lr_batch=64"  # chosen on a hold-out of the training images

RESNET = "experiment=cifar10_cpu_simclr"
ENDLESS = "schedule=infinite method.optimizer.warmup_steps=125"


def stage(name: str, images: str, epochs: int = 8) -> str:
    """The settings of a stage that learns from ``images``."""
    given = [each.removeprefix("data.") for each in images.split() if "image_size" not in each]
    return " ".join(f"data.sources.{name}.{each}" for each in [*given, f"epochs={epochs}"])


# name -> what is typed behind `selfsup train`, and the run that it has to be better than
RUNS: dict[str, tuple[str, str | None]] = {
    "cifar10": (f"{SIMCLR} {CIFAR} trainer.max_epochs=20", None),
    "tiny-scratch": (f"{SIMCLR} {TINY} trainer.max_epochs=8", None),
    "tiny-continued": (
        f"{SIMCLR} {TINY} experiment=continue backbone.weights={{cifar10}} trainer.max_epochs=8",
        "tiny-scratch",
    ),
    "tiny-continued-faster": (
        f"{SIMCLR} {TINY} experiment=continue backbone.weights={{cifar10}} trainer.max_epochs=8 "
        "method.optimizer.lr=1e-3 method.optimizer.layer_decay=1",
        "tiny-scratch",
    ),
    "flowers-scratch": (f"{SIMCLR} {FLOWERS} trainer.max_epochs=100", None),
    "flowers-continued": (
        f"{SIMCLR} {FLOWERS} experiment=continue backbone.weights={{tiny-continued}} trainer.max_epochs=100",
        "flowers-scratch",
    ),
    "digits-teacher": ("experiment=digits_ibot", None),
    "digits-simclr": (f"method=simclr method.optimizer.lr_batch=64 {DIGITS} trainer.max_steps=800", None),
    "digits-random": (f"method=distill method.teacher=untrained {RATE} {DIGITS} trainer.max_steps=400", None),
    "digits-distilled": (
        f"method=distill method.teacher={{digits-teacher}}/encoder {RATE} {DIGITS} trainer.max_steps=400",
        "digits-simclr",
    ),
    "two-first": (f"{RESNET} {CIFAR} trainer.max_epochs=8", None),
    "cifar-distilled": (
        f"method=distill method.teacher={{cifar10}}/encoder {RATE} backbone=resnet10 "
        f"backbone.model_args.stem_stride=2 batch_size=64 {CIFAR} trainer.max_epochs=8",
        "two-first",
    ),
    "two-cosines": (f"{RESNET} {TINY} backbone.weights={{two-first}} trainer.max_epochs=8", None),
    # 16 epochs are 2,496 steps; the annealing takes the last 200
    "two-endless": (
        f"{RESNET} {ENDLESS} method.optimizer.cooldown_steps=1248 data=stages {stage('cifar10', CIFAR)} "
        f"{stage('tiny', TINY)} trainer.max_steps=2296",
        None,
    ),
    "two-annealed": ("anneal={two-endless}", None),
    # 20 epochs of CIFAR-10 are 3,120 steps, 62 of the digits 1,240
    "far-first": (f"{RESNET} {CIFAR} trainer.max_epochs=20", None),
    "far-cosines": (f"{RESNET} {FIGURES} backbone.weights={{far-first}} trainer.max_epochs=62", None),
    "far-endless": (
        f"{RESNET} {ENDLESS} method.optimizer.cooldown_steps=3120 data=stages {stage('cifar10', CIFAR, 20)} "
        f"{stage('digits', FIGURES, 62)} trainer.max_steps=4160",
        None,
    ),
    "far-annealed": ("anneal={far-endless}", None),
}
# benchmarks.quality.forgetting has the rest
OWN = [name for name in RUNS if not name.startswith(("two-", "far-"))]


def needed(names: list[str]) -> Iterator[str]:
    """The runs of these names behind those that they begin with or are compared to."""
    for name in names:
        typed, rival = RUNS[name]
        yield from needed([each for each in RUNS if f"{{{each}}}" in typed or each == rival])
        yield name


def trained(name: str, runs: Path, data: str) -> dict[str, Any]:
    """The row of a run, which is made unless it is there."""
    typed, rival = RUNS[name]
    folders = {each: runs / each for each in RUNS}
    folder = folders[name]
    if not (folder / "results.json").is_file():
        given = typed.format(data=data, **folders).split()
        arguments = [f"resume={folder}"] if folder.exists() else [*given, f"out={runs}", f"name={name}"]
        done = subprocess.run([sys.executable, "-m", "selfsup.commands", "train", *arguments, "report=false"])
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}")
    results = json.loads((folder / "results.json").read_text())
    row = {
        "name": name,
        "command": f"selfsup train {typed.replace('{data}', '../shared/data')}",
        "revision": json.loads((folder / "environment.json").read_text())["starts"][-1]["revision"],
        "results": results,
    }
    if rival:
        other = json.loads((folders[rival] / "results.json").read_text())["rows"][0]
        mine, theirs = {**results["rows"][0], "name": name}, {**other, "name": rival}
        scores = [key for key, score in mine["scores"].items() if score["labels"]]
        row["against"] = [found for key in scores if (found := difference(key, mine, theirs))]
    return row


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=OWN)
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    for name in dict.fromkeys(needed(arguments.only)):
        keep("transfer", [trained(name, arguments.runs, arguments.data)], "name")


if __name__ == "__main__":
    main()
