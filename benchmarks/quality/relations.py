"""What knowing who belongs together is worth: SimCLR on 10,000 images of CIFAR-10.

    python -m benchmarks.quality.relations --runs runs/relations                      # all, one by one
    python -m benchmarks.quality.relations --runs runs/relations --only none tenth    # some

For each seed SimCLR learns with its shipped settings: from views alone, from the labels of a tenth of each
class, from 2,000 random pairs of one class each, and from all labels; and SupCon does. All encoders of a seed
are judged by one command, so that differences are paired over the test images. Rows go to
``benchmarks/results/relations.jsonl``.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality.golden import call
from benchmarks.rows import keep
from selfsup.runtime import quiet

IMAGES, PAIRS = 10_000, 2_000
PROTOCOLS = "protocols=[knn,linear]"
LEARNED = "online=none report=false evaluate=false"
SIMCLR = "experiment=cifar10_cpu_simclr"
# variant -> what is typed beside the data; {pairs} is a table of pairs
VARIANTS = {
    "none": SIMCLR,
    "tenth": f"{SIMCLR} positives=labels positives.share=0.1",
    "pairs": f"{SIMCLR} positives=edges data.pairs={{pairs}}",
    "all": f"{SIMCLR} positives=labels",
    "supcon": "experiment=cifar10_cpu_supcon",
}


def write_pairs(path: Path, data: str, seed: int) -> None:
    """Random pairs of images of one class, as somebody would name them who knows which belong together."""
    labels = np.array(pq.read_table(f"{data}/cifar10-train.parquet", columns=["label"])["label"])[:IMAGES]
    draw = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b"])
        for label in draw.integers(0, 10, PAIRS):
            writer.writerow(draw.choice(np.flatnonzero(labels == label), 2, replace=False).tolist())


def main() -> None:
    """Make the runs that the command line asks for, unless they are there, and judge them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    runs, data = arguments.runs, arguments.data
    quiet()
    runs.mkdir(parents=True, exist_ok=True)
    train, test = f"{data}/cifar10-train.parquet[:{IMAGES}]", f"{data}/cifar10-test.parquet"
    images = f"data=parquet data.train={train} data.test={test}"
    for seed in arguments.seeds:
        pairs = runs / f"pairs-{seed}.csv"
        write_pairs(pairs, data, seed)
        for variant in arguments.only:
            name = f"{variant}-{seed}"
            if not (runs / name / "encoder" / "card.json").is_file():
                typed = VARIANTS[variant].format(pairs=pairs)
                given = f"{typed} {images} {LEARNED} seed={seed} out={runs} name={name}"
                call(["selfsup", "train", *given.split()])
        encoders = ",".join(str(runs / f"{variant}-{seed}" / "encoder") for variant in arguments.only)
        out = runs / f"results-{seed}.json"
        out.unlink(missing_ok=True)
        given = f"encoder=[{encoders}] {PROTOCOLS} {images} seed={seed} out={out} cache=null"
        call(["selfsup", "evaluate", *given.split()])
        row = {"seed": seed, "variants": VARIANTS, "results": json.loads(out.read_text())}
        keep("relations", [row], "seed")


if __name__ == "__main__":
    main()
