"""What is forgotten of one data set while learning from another: a second cosine, and a rate without an end.

    python -m benchmarks.quality.forgetting --runs runs/transfer

A small ResNet learns by SimCLR from 10,000 images of CIFAR-10, then from 10,000 of 50 classes of
Tiny-ImageNet, for 8 epochs each: by two runs with a cosine each, the second from the weights of the first, or
by one run in stages whose rate has no end and which is annealed. All three encoders are judged on both sets
by one command, so that differences are paired. A row of ``benchmarks/results/forgetting.jsonl`` is a set.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.quality.transfer import CIFAR, TINY, needed, trained
from benchmarks.rows import keep
from selfsup.runtime import quiet

SETS = {"CIFAR-10": CIFAR, "Tiny-ImageNet": TINY}
ENCODERS = ("two-first", "two-cosines", "two-annealed")


def main() -> None:
    """Make the runs, unless they are there, and judge them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    for name in dict.fromkeys(needed(list(ENCODERS))):
        trained(name, arguments.runs, arguments.data)
    encoders = ",".join(str(arguments.runs / name / "encoder") for name in ENCODERS)
    for title, images in SETS.items():
        with TemporaryDirectory() as folder:
            out = Path(folder) / "results.json"
            typed = ["evaluate", f"encoder=[{encoders}]", "protocols=[knn,nshot]", f"out={out}", "cache=null"]
            given = images.format(data=arguments.data).split()
            done = subprocess.run([sys.executable, "-m", "selfsup.commands", *typed, *given])
            if done.returncode:
                raise SystemExit(f"judging on {title} ended with {done.returncode}")
            keep("forgetting", [{"set": title, "results": json.loads(out.read_text())}], "set")


if __name__ == "__main__":
    main()
