"""Our objectives against lightly's: the same tensors, forward and backward, time and peak memory.

    python -m benchmarks.speed.objectives                     # all cases, on a GPU if there is one
    python -m benchmarks.speed.objectives --cases nt_xent --repeats 5

Both sides run in turn in one process, three times each, and the fastest of all repeats counts: neighbours on
a shared machine only ever slow a run down. Peak memory is that of one forward and backward pass in a process
of its own, beyond the memory held before. Results go to ``benchmarks/results/objectives.jsonl``, of a
GPU to ``objectives-gpu.jsonl``.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import ROOT, keep, of_this_device
from benchmarks.speed.objective_cases import CASES, Sides


def fastest(sides: Sides, repeats: int) -> list[float]:
    """Seconds of each side, the fastest of repeats taken in turn; more repeats where they are short."""
    best = [float("inf")] * 2
    until = time.perf_counter() + 2
    repeat = -1
    while repeat < repeats or time.perf_counter() < until:
        repeat += 1
        for i, work in enumerate(sides):
            for _ in range(3):  # so that caches hold one side's tensors, as they do in a training loop
                _wait()
                started = time.perf_counter()
                work()
                _wait()
                if repeat:  # the first round allocates memory
                    best[i] = min(best[i], time.perf_counter() - started)
    return best


def peak(case: str, side: int, device: str) -> float:
    """MiB that one pass needs beyond those held before, in a process of its own."""
    code = (
        f"from benchmarks.speed.objectives import peak_here; print(peak_here({case!r}, {side}, {device!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def peak_here(case: str, side: int, device: str) -> float:
    """The part of `peak` that runs in a process of its own."""
    work = CASES[case](device)[side]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    # The linear algebra's own buffers and threads are not the objective's.
    small = torch.randn(64, 64, requires_grad=True)
    (small @ small).sum().backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is the memory held now
    before = _peak_resident()
    work()
    return _peak_resident() - before


def _peak_resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(cases: Sequence[str], repeats: int, device: str) -> list[dict[str, Any]]:
    rows = []
    for case in cases:
        ours, theirs = fastest(CASES[case](device), repeats)
        memory = [peak(case, side, device) for side in (0, 1)]
        rows.append(
            {
                "case": case,
                "ours_ms": round(1e3 * ours, 3),
                "lightly_ms": round(1e3 * theirs, 3),
                "times_as_fast": round(theirs / ours, 2),
                "ours_peak_mib": round(memory[0], 1),
                "lightly_peak_mib": round(memory[1], 1),
            }
        )
        print(
            "{case:28} {ours_ms:9.2f} ms {lightly_ms:9.2f} ms  x{times_as_fast:<6}"
            "{ours_peak_mib:8.1f} MiB {lightly_peak_mib:8.1f} MiB".format(**rows[-1]),
            flush=True,
        )
    return rows


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="beginnings of cases' names; all without")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [case for case in CASES if case.startswith(tuple(arguments.cases or ("",)))]
    rows = measure(chosen, arguments.repeats, device)
    keep(of_this_device("objectives"), rows, "case")


if __name__ == "__main__":
    main()
