"""What is forgotten of one data set while learning from another: a second cosine, and a rate without an end.

    python -m benchmarks.quality.forgetting --runs runs/transfer

A small ResNet learns by SimCLR from 10,000 images of CIFAR-10, then from a second set, for as many steps each
way: by two runs with a cosine each, the second from the weights of the first, or by one run in stages whose
rate has no end and which is annealed. The second set is alike (10,000 images of 50 classes of Tiny-ImageNet,
8 epochs each) or far (scikit-learn's digits, after 20 epochs of CIFAR-10). All three encoders are judged on
both sets by one command, so that differences are paired. A row of ``benchmarks/results/forgetting.jsonl`` is
a second set and one of the two.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.quality.transfer import CIFAR, FIGURES, TINY, needed, trained
from benchmarks.rows import keep
from selfsup.runtime import quiet

# prefix of the runs -> the sets on which they are judged
SETS = {
    "two": {"CIFAR-10": CIFAR, "Tiny-ImageNet": TINY},
    "far": {"CIFAR-10": CIFAR, "digits": FIGURES},
}


def main() -> None:
    """Make the runs, unless they are there, and judge them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    quiet()
    for runs in arguments.only:
        judge(runs, arguments.runs, arguments.data)


def judge(runs: str, folder: Path, data: str) -> None:
    """Make the runs with this prefix in ``folder``, and keep the results of their encoders on both sets."""
    names = [f"{runs}-{each}" for each in ("first", "cosines", "annealed")]
    for name in dict.fromkeys(needed(names)):
        trained(name, folder, data)
    encoders = ",".join(str(folder / name / "encoder") for name in names)
    for title, images in SETS[runs].items():
        with TemporaryDirectory() as scratch:
            out = Path(scratch) / "results.json"
            typed = ["evaluate", f"encoder=[{encoders}]", "protocols=[knn,nshot]", f"out={out}", "cache=null"]
            given = images.format(data=data).split()
            done = subprocess.run([sys.executable, "-m", "selfsup.commands", *typed, *given])
            if done.returncode:
                raise SystemExit(f"judging on {title} ended with {done.returncode}")
            row = {"runs": runs, "set": title, "results": json.loads(out.read_text())}
            keep("forgetting", [row], "runs", "set")


if __name__ == "__main__":
    main()
