"""What the time of a training step's operations goes to, and how much of it torch.compile saves.

    python -m benchmarks.speed.operations                   # methods with a transformer, and SimCLR
    python -m benchmarks.speed.operations --methods jepa --rounds 3

A forward and a backward pass of a method's loss, at the settings of ``experiment=cifar10_short_NAME``, on one
core. Torch's profiler tells what its operations took; matrix products, which the floors of
``benchmarks.speed.stages`` are made of, are told with their rate and that of large matrices. Then the same
passes as ``compile=true`` has them, encoder, teacher and predictor compiled, in turn with those as they are.
Results go to ``benchmarks/results/operations.jsonl``.
"""

import argparse
import copy
import os
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from timm.layers import set_fused_attn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import METHODS, keep
from benchmarks.speed.stages import matrix_rate
from selfsup.build import compile_passes, make_encoder, make_method
from selfsup.config import load_config
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.run.trainer import best_precision
from selfsup.runtime import keep_freed_memory, quiet
from tests.methods.building import images

# kind -> parts of the names of operations; the first that fits counts
KINDS = {
    "products": ("addmm", "::mm", "bmm", "convolution"),
    "softmax": ("softmax",),
    "activations": ("gelu", "relu", "threshold"),
    "norms": ("layer_norm", "batch_norm"),
    "copies": ("copy_", "::cat", "gather", "clone", "index", "scatter", "fill_"),
}
PROFILED = 3  # steps


def passes(method: Method, batch: Batch, half: bool) -> float:
    """Seconds of the loss and its gradients."""
    batch.generator.manual_seed(0)  # the same masks, so that nothing is compiled again
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = method(batch).loss
    loss.backward()
    seconds = time.perf_counter() - started
    method.zero_grad()
    return seconds


def measured(name: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step by kind of operation, the rate of products, and steps compiled and plain."""
    config = load_config("train", [f"experiment=cifar10_short_{name}", "data=parquet", "data.train=none"])
    precision = best_precision("cpu")
    half = precision == "bf16-mixed"
    set_fused_attn(not half)  # as a run does
    plain = make_method(config, make_encoder(config), devices=1).train().to(memory_format=torch.channels_last)
    count = config["batch_size"]
    batch = plain.batch({"image": images(count, 32), "index": torch.arange(count)}, 0, 100)
    with FlopCounterMode(display=False) as counter:
        passes(plain, batch, half)
    spent: dict[str, float] = defaultdict(float)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED):
            passes(plain, batch, half)
    for each in seen.key_averages():
        kind = next(
            (kind for kind, parts in KINDS.items() if any(part in each.key for part in parts)), "others"
        )
        spent[kind] += each.self_cpu_time_total / 1000 / PROFILED

    compiled = copy.deepcopy(plain)
    compile_passes(compiled, on_gpu=False)
    with torch.compiler.config.patch(force_disable_caches=True):  # code of an earlier call is on the disk
        first = passes(compiled, batch, half)
    forms = {"plain_ms": plain, "compiled_ms": compiled}
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, method in forms.items():
            seconds[form].append(passes(method, batch, half))
    return {
        "batch": count,
        "precision": precision,
        "ms": {kind: round(spent[kind], 1) for kind in [*KINDS, "others"]},
        "products_gflops_a_second": round(counter.get_total_flops() / spent["products"] / 1e6, 1),
        "matrices_gflops_a_second": round(matrix_rate(precision) / 1e9, 1),
        **{form: round(1000 * statistics.median(values), 1) for form, values in seconds.items()},
        "seconds_of_compiling": round(first, 1),
    }


def main() -> None:
    """Measure the methods that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ("jepa", "mae", "dino", "simclr")
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    quiet()
    keep_freed_memory()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the row
    torch.set_num_threads(1)
    for name in arguments.methods:
        found = measured(name, arguments.rounds)
        print(METHODS[name], found)
        keep("operations", [{"method": name, **found}], "method")


if __name__ == "__main__":
    main()
