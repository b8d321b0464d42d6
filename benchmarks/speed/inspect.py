"""How long ``selfsup inspect`` takes for the 60,000 images of CIFAR-10, with pixels.

    python -m benchmarks.speed.inspect

A row of ``benchmarks/results/inspect.jsonl`` is a number of images: wall-clock seconds and those of the
processor, of the command with its two workers, and how many other processes waited for the cores meanwhile
(the load average), which wall-clock seconds depend on.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import keep


def main() -> None:
    """Run the command, measure it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("../shared/data"), help="of the parquet files")
    parser.add_argument(
        "--images", type=int, default=50_000, help="to learn from; 10,000 more are test images"
    )
    arguments = parser.parse_args()
    train = f"{arguments.folder / 'cifar10-train.parquet'}[:{arguments.images}]"
    test = arguments.folder / "cifar10-test.parquet"
    with TemporaryDirectory() as folder:
        typed = ["inspect", "data=parquet", f"data.train={train}", f"data.test={test}", f"out={folder}/seen"]
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "selfsup.commands", *typed])
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"the command ended with {done.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = {
        "images": arguments.images + 10_000,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "memory_gib": round(used.ru_maxrss / 2**20, 2),
        "load": round(os.getloadavg()[1], 1),
    }
    keep("inspect", [row], "images")
    print(row)


if __name__ == "__main__":
    main()
