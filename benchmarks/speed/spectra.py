"""RankMe from an accumulated Gram matrix against the singular values of the features: time, error, memory.

    python -m benchmarks.speed.spectra                            # all sizes
    python -m benchmarks.speed.spectra --sizes 25600x512 --repeats 3

Both sides run in turn in one process and the fastest repeat of each counts. Peak memory is
that of one call in a process of its own, beyond the memory held before. The error is relative to
singular values in float64. Results go to ``benchmarks/results/spectra.jsonl``.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import keep
from selfsup.evaluation import panel, rankme, spectrum

SIZES = ("25600x512", "50000x512", "25600x2048")


def made(size: str) -> Tensor:
    """Features whose covariance has the eigenvalues 1/k, about a mean."""
    samples, width = map(int, size.split("x"))
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, width, generator=generator).mul_(torch.arange(1, width + 1) ** -0.5).add_(0.2)


def entropy_rank(sigma: Tensor, eps: float = 1e-7) -> float:
    p = sigma / sigma.sum() + eps
    return float((-(p * p.log()).sum()).exp())


def by_svd(features: Tensor) -> float:
    return entropy_rank(torch.linalg.svdvals(features))


SIDES: dict[str, Callable[[Tensor], Any]] = {
    "gram": rankme,
    "svd": by_svd,
    "panel": lambda z: panel(spectrum(z)),
}


def fastest(size: str, repeats: int) -> dict[str, float]:
    features = made(size)
    best = dict.fromkeys(SIDES, float("inf"))
    for _ in range(repeats):
        for name, side in SIDES.items():
            start = time.perf_counter()
            side(features)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_mib(size: str, side: str) -> float:
    """Peak memory of one call in this process, beyond the memory held before."""
    features = made(size)
    SIDES[side](features[:1100])  # loads libraries once
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = resident_mib("VmRSS")
    SIDES[side](features)
    return resident_mib("VmHWM") - before


def resident_mib(name: str) -> float:
    """A line of Linux's account of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def in_a_process(size: str, side: str) -> float:
    command = [sys.executable, "-m", "benchmarks.speed.spectra", "--peak", size, side]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def few_samples(width: int = 384) -> dict[str, float]:
    """RankMe by the number of samples: a spectrum's tail needs many."""
    samples = {n: made(f"{n}x{width}") for n in (128, 512, 2000, 5000, 25600)}
    return {str(n): rankme(z) for n, z in samples.items()}


def rounding(rank: int = 8, width: int = 2048) -> dict[str, float]:
    """RankMe of low-rank features, by their precision."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(rank, width, generator=generator)
    z = torch.randn(4096, rank, generator=generator) @ basis
    return {str(dtype): rankme(z.to(dtype)) for dtype in (torch.float32, torch.float16, torch.bfloat16)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", nargs=2)
    given = parser.parse_args()
    if given.peak:
        print(peak_mib(*given.peak))
        return
    rows = []
    for size in given.sizes:
        seconds = fastest(size, given.repeats)
        exact = entropy_rank(torch.linalg.svdvals(made(size).double()))
        row = {
            "part": "sizes",
            "size": size,
            "rankme": exact,
            "gram_ms": 1e3 * seconds["gram"],
            "svd_ms": 1e3 * seconds["svd"],
            "panel_ms": 1e3 * seconds["panel"],
            "times_as_fast": seconds["svd"] / seconds["gram"],
            "relative_error": abs(rankme(made(size)) / exact - 1),
            "gram_peak_mib": in_a_process(size, "gram"),
            "svd_peak_mib": in_a_process(size, "svd"),
        }
        rows.append(row)
        print(json.dumps(row))
    pitfalls = {"few_samples": few_samples(), "rounding": rounding()}
    rows += [{"part": part, "rankme": found} for part, found in pitfalls.items()]
    keep("spectra", rows, "part", "size")


if __name__ == "__main__":
    main()
