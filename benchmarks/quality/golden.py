"""Train every method with its shipped settings, judge it, and keep the results as JSON.

    python -m benchmarks.quality.golden --suite digits --seeds 3
    python -m benchmarks.quality.golden --suite digits --seeds 2 --first 3                  # two more
    python -m benchmarks.quality.golden --suite cifar10-cpu --data ../shared/data --methods mae jepa
    python -m benchmarks.quality.golden --suite cifar10 --runs runs/golden --piece 9 # the same command
    continues

Each run is the command a user would type, in a process of its own; its results, with the command,
its cost and the machine, are a row of ``benchmarks/results/SUITE.jsonl``. The suites digits, cifar10-short
and cifar10-cpu are for two CPU cores, the others for a GPU. With ``--piece`` a run is stopped after so many
minutes, and the same command continues it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import selfsup
from benchmarks.rows import METHODS, keep
from benchmarks.speed.stages import gflops_a_step
from selfsup.config import options
from selfsup.errors import REQUEUE
from selfsup.report.gallery import gflops_an_image
from selfsup.runtime import quiet

# The files of a suite's training and test images; digits need none.
SUITES: dict[str, tuple[str, str] | None] = {
    "digits": None,
    "cifar10-short": ("cifar10-train.parquet", "cifar10-test.parquet"),
    "cifar10-cpu": ("cifar10-train.parquet[:10000]", "cifar10-test.parquet"),
    "cifar10": ("cifar10-train.parquet", "cifar10-test.parquet"),
    "tinyimagenet50": ("tinyimagenet50-train.parquet", "tinyimagenet50-val.parquet"),
}


# Methods that can be compared: those with shipped settings for digits, and so without a given teacher.
LEARNERS = [name for name in METHODS if f"digits_{name}" in options("experiment")]


def command(suite: str, method: str, seed: int, data: str) -> list[str]:
    """What is typed for a run, save for the run's folder."""
    typed = ["selfsup", "train", f"experiment={suite.replace('-', '_')}_{method}"]
    if files := SUITES[suite]:
        train, test = files
        typed += ["data=parquet", f"data.train={data}/{train}", f"data.test={data}/{test}"]
    return typed + ([f"seed={seed}"] if seed else [])


def run(suite: str, method: str, seed: int, data: str, folder: Path, piece: float) -> dict[str, Any] | None:
    """One run in a process of its own: its results, its cost and where it ran; None if it is not over."""
    typed = command(suite, method, seed, data)
    so_far, started = folder.with_suffix(".minutes.json"), time.perf_counter()
    before: dict[str, float] = json.loads(so_far.read_text()) if so_far.is_file() else {}
    arguments = [f"resume={folder}"] if folder.exists() else [f"out={folder.parent}", f"name={folder.name}"]
    child = subprocess.Popen([sys.executable, "-m", "selfsup.commands", *typed[1:], *arguments])
    stopper = threading.Timer(60 * piece, child.terminate)
    if piece:
        stopper.start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    stopper.cancel()
    minutes = before.get("minutes", 0.0) + (time.perf_counter() - started) / 60
    busy = before.get("busy", 0.0) + (usage.ru_utime + usage.ru_stime) / 60
    peak = max(before.get("peak", 0.0), usage.ru_maxrss / 2**20)
    so_far.write_text(json.dumps({"minutes": minutes, "busy": busy, "peak": peak}))
    if child.returncode == REQUEUE:
        return None
    if child.returncode:
        raise SystemExit(f"{' '.join(typed)} ended with {child.returncode}")
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {
        "suite": suite,
        "method": method,
        "seed": seed,
        "command": " ".join(typed),
        "minutes_in_all": round(minutes, 2),
        "core_minutes": round(busy, 2),  # which neighbours on the machine hardly change
        "peak_memory_gib": round(peak, 2),
        "gflops_an_image": round(gflops_an_image(selfsup.load_encoder(folder / "encoder")), 4),
        "gflops_of_training": round(gflops_a_step(typed[2:]) * results["steps"]),
        "results": results,
    }


def lidar(trained: list[str], folder: Path) -> dict[str, Any]:
    """LiDAR of the encoder and its controls, by name; a run itself does not draw views for it."""
    same = [each for each in trained if each.startswith(("data", "seed"))]
    typed, out = ["selfsup", "evaluate", "protocols=[lidar]", *same], folder / "lidar.json"
    call([*typed, f"encoder={folder}/encoder", f"out={out}", "cache=null"])
    rows = json.loads(out.read_text())["rows"]
    return {"command": " ".join(typed), "scores": {row["name"]: row["scores"]["lidar"] for row in rows}}


def call(typed: list[str]) -> None:
    """Run a command, ``selfsup ...``, in a process of its own, and end with it if it fails."""
    done = subprocess.run([sys.executable, "-m", "selfsup.commands", *typed[1:]])
    if done.returncode:
        raise SystemExit(f"{' '.join(typed)} ended with {done.returncode}")


def main() -> None:
    """Run the suites that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--methods", "--method", nargs="+", choices=LEARNERS, default=LEARNERS)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    parser.add_argument("--runs", type=Path, help="folder in which the runs stay; without it none does")
    parser.add_argument("--piece", type=float, default=0.0, help="minutes after which a run is stopped")
    arguments = parser.parse_args()
    if arguments.piece and not arguments.runs:
        parser.error("--piece needs --runs, a folder in which a stopped run stays")
    quiet()
    with tempfile.TemporaryDirectory() as passing:
        runs = arguments.runs or Path(passing)
        runs.mkdir(parents=True, exist_ok=True)
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            for method in arguments.methods:
                folder = runs / f"{arguments.suite}-{method}-seed{seed}"
                found = run(arguments.suite, method, seed, arguments.data, folder, arguments.piece)
                if found is None:
                    raise SystemExit(f"{folder.name} is not over; the same command continues it")
                keep(arguments.suite, [found], "method", "seed")  # kept in case the rest fails
                found["lidar"] = lidar(found["command"].split(), folder)
                keep(arguments.suite, [found], "method", "seed")
                print(f"{folder.name}: {found['minutes_in_all']:.1f} min, {found['peak_memory_gib']:.1f} GiB")


if __name__ == "__main__":
    main()
