"""Train every method with its shipped settings, judge it, and keep what came out as JSON.

    python benchmarks/golden.py --suite digits
    python benchmarks/golden.py --suite cifar10 --data ../shared/data --methods mae jepa

Each run is the command a user would type, in a process of its own; its results, with the command,
its cost and the machine, are written to ``benchmarks/results/SUITE-METHOD-seedN.json``.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from origin import origin

METHODS = ("simclr", "barlow", "mae", "dino", "jepa")
HERE = Path(__file__).parent


def command(suite: str, method: str, data: str) -> list[str]:
    """What is typed for a run, save for the run's folder and seed."""
    typed = ["selfsup", "train", f"experiment={suite}_{method}"]
    if suite == "cifar10":
        typed += [
            "data=parquet",
            f"data.train={data}/cifar10-train.parquet",
            f"data.test={data}/cifar10-test.parquet",
        ]
    return typed


def run(suite: str, method: str, seed: int, data: str) -> dict[str, Any]:
    """One run in a process of its own: its results, its cost and where it ran."""
    typed = command(suite, method, data) + ([f"seed={seed}"] if seed else [])
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        arguments = [*typed[1:], f"out={folder}", "name=run"]
        subprocess.run([sys.executable, "-m", "selfsup.commands", *arguments], check=True)
        minutes = (time.perf_counter() - started) / 60
        results: dict[str, Any] = json.loads((Path(folder) / "run" / "results.json").read_text())
    # Of the largest child so far; only one runs at a time, and a larger earlier one would hide it.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {
        "suite": suite,
        "method": method,
        "seed": seed,
        "command": " ".join(typed),
        "minutes_in_all": round(minutes, 2),
        "peak_memory_gib": round(peak, 2),
        **origin(),
        "results": results,
    }


def main() -> None:
    """Run the suites that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=("digits", "cifar10"), required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0")
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    arguments = parser.parse_args()
    for method in arguments.methods:
        for seed in range(arguments.seeds):
            path = HERE / "results" / f"{arguments.suite}-{method}-seed{seed}.json"
            path.parent.mkdir(exist_ok=True)
            found = run(arguments.suite, method, seed, arguments.data)
            path.write_text(json.dumps(found, indent=2) + "\n")
            print(f"{path}: {found['minutes_in_all']:.1f} min, {found['peak_memory_gib']:.1f} GiB")


if __name__ == "__main__":
    main()
