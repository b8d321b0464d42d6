"""Time saved in a step by bfloat16 with channels last, by patches left out and by torch.compile.

    python -m benchmarks.speed.savings                             # all three
    python -m benchmarks.speed.savings --cases precision --steps 60    # with a longer curve of the loss

``precision`` is SimCLR's step on a ResNet-18 and images of 32 px, once as ``selfsup train`` makes it (the
precision that is faster here, channels last, freed memory kept) and once in float32 and torch's own layout.
Each form has a process of its own, in turn; the plain form also runs with a second seed, to show whether the
losses differ by more than those of two seeds. ``tokens`` is a ViT-S/16 at 224 px, forward and backward, on a
quarter of the patches, as MAE's and I-JEPA's encoders see them, and on all, a batch of 64, in turn in one
process. ``compiled`` is an encoder of each kind, forward and backward, as it is and compiled by torch
(`compile=true`). Results go to ``benchmarks/results/savings.jsonl``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import keep, read
from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.encoder import Encoder
from selfsup.objectives import random_mask
from selfsup.run.trainer import choose_attention, in_16_bits
from selfsup.runtime import keep_freed_memory, quiet

CASES = ("tokens", "compiled", "precision")
WARM = 2  # steps before the clock starts
IMAGES = 64  # of `tokens`, a batch as small-scale runs have it; that of a few images is bound by the weights
FORMS = {"shipped": ("shipped", 0), "plain": ("plain", 0), "plain, another seed": ("plain", 1)}


def precision(data: str, steps: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of each form, the median of the rounds, and the losses of the first round."""
    ms: dict[str, list[float]] = {form: [] for form in FORMS}
    losses: dict[str, list[float]] = {}
    precisions: dict[str, str] = {}
    for _ in range(rounds):
        for name, (form, seed) in FORMS.items():
            asked = [sys.executable, "-m", "benchmarks.speed.savings", "--form", form, "--seed", str(seed)]
            done = subprocess.run(
                [*asked, "--data", data, "--steps", str(steps)],
                env=os.environ | ({"THP_MEM_ALLOC_ENABLE": "1"} if form == "shipped" else {}),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            ms[name].append(found["ms"])
            losses.setdefault(name, found["losses"])
            precisions[name] = found["precision"]
    middle = {name: round(statistics.median(values), 1) for name, values in ms.items()}
    # Of the second half of the steps, after the start of all forms.
    level = {name: statistics.mean(curve[len(curve) // 2 :]) for name, curve in losses.items()}
    return {
        "precision": precisions["shipped"],
        "ms": middle,
        "times_as_fast": round(middle["plain"] / middle["shipped"], 2),
        "loss": {name: round(value, 4) for name, value in level.items()},
        "losses": losses,
    }


def steps_of(form: str, seed: int, data: str, steps: int) -> dict[str, Any]:
    """One process's measurements of one form."""
    if form == "shipped":
        keep_freed_memory()
    settings = ["method=simclr", "backbone=resnet18", "data=parquet", f"seed={seed}"]
    config = load_config("train", [*settings, f"data.train={data}/cifar10-train.parquet[:10000]"])
    source, _ = load_data(config["data"])
    method = make_method(config, make_encoder(config), devices=1)
    half = form == "shipped" and in_16_bits(config["trainer"])
    if form == "shipped":
        method = method.to(memory_format=torch.channels_last)
    order = make_order(source, config["batch_size"], seed)
    loader = training_loader(source, method.views, order, 0, torch.device("cpu"))
    optimizer, losses = method.configure_optimizers(), []
    for batch in islice(loader, WARM + steps):
        if len(losses) == WARM:
            started = time.perf_counter()
        given = method.batch(batch, len(losses), WARM + steps)
        if form == "plain":
            given = replace(given, views=[view.contiguous() for view in given.views])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = method.loss(given).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    ms = 1000 * (time.perf_counter() - started) / steps
    return {"ms": ms, "losses": losses, "precision": "bfloat16" if half else "float32"}


def tokens(rounds: int) -> dict[str, Any]:
    """How many times as fast the encoder is on a quarter of the patches, a row a method."""
    return {method: _quarter(method, rounds) for method in ("mae", "jepa")}


def _quarter(name: str, rounds: int) -> dict[str, Any]:
    config = load_config("train", [f"method={name}", "backbone=vit_small", "data.image_size=224"])
    choose_attention(config["trainer"])
    encoder, half = make_encoder(config).train(), in_16_bits(config["trainer"])
    images = torch.randn(IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    rows, columns = encoder.grid
    some, _ = random_mask(len(images), (rows, columns), 0.75, torch.Generator().manual_seed(0))

    def run(keep: Tensor | None) -> Callable[[], None]:
        def once() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                encoder.tokens(images, keep).float().square().mean().backward()
            encoder.zero_grad()

        return once

    return _in_turn({"all": run(None), "a_quarter": run(some)}, rounds, half)


def compiled(rounds: int) -> dict[str, Any]:
    """The speed-up of an encoder by torch.compile, and its seconds of compiling, a row each."""
    return {backbone: _compiled(backbone, rounds) for backbone in ("resnet10", "vit_mini")}


def _compiled(backbone: str, rounds: int) -> dict[str, Any]:
    config = load_config("train", ["method=simclr", f"backbone={backbone}", "data.image_size=32"])
    choose_attention(config["trainer"])
    half = in_16_bits(config["trainer"])
    images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)

    def run(encoder: Encoder) -> Callable[[], None]:
        def once() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                encoder(images).float().square().mean().backward()
            encoder.zero_grad()

        return once

    plain, fast = (make_encoder(config).train().to(memory_format=torch.channels_last) for _ in range(2))
    fast.compile_training()
    started = time.perf_counter()
    with torch.compiler.config.patch(
        force_disable_caches=True
    ):  # an earlier call's compiled code is on the disk
        run(fast)()
    seconds = time.perf_counter() - started
    return _in_turn({"plain": run(plain), "compiled": run(fast)}, rounds, half) | {
        "seconds_of_compiling": round(seconds, 1)
    }


def _in_turn(sides: dict[str, Callable[[], None]], rounds: int, half: bool) -> dict[str, Any]:
    """Milliseconds of two sides, medians of turns, and how many times as fast the second is."""
    ms: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, once in sides.items():
            started = time.perf_counter()
            once()
            if number:  # the first allocates memory
                ms[side].append(1000 * (time.perf_counter() - started))
    ratios = [first / second for first, second in zip(*ms.values(), strict=True)]
    return {
        "precision": "bfloat16" if half else "float32",
        "images": IMAGES,
        **{f"{side}_ms": round(statistics.median(values), 1) for side, values in ms.items()},
        "times_as_fast": round(statistics.median(ratios), 2),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10, help="of precision, a fifth as many")
    parser.add_argument("--form", choices=("shipped", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    quiet()
    if asked.form:
        print(json.dumps(steps_of(asked.form, asked.seed, asked.data, asked.steps)))
        return
    if "tokens" in asked.cases:
        keep("savings", [{"part": "tokens", **tokens(asked.rounds)}], "part")
    if "compiled" in asked.cases:
        keep("savings", [{"part": "compiled", **compiled(asked.rounds)}], "part")
    if "precision" in asked.cases:
        found = precision(asked.data, asked.steps, max(1, asked.rounds // 5))
        keep("savings", [{"part": "precision", **found}], "part")
    print(json.dumps(read("savings"), indent=2))


if __name__ == "__main__":
    main()
