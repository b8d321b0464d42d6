"""Whether a curated half is worth the whole: SimCLR on a long-tailed pool full of near copies.

    python -m benchmarks.quality.curation --runs runs/curation                # all, one run after another
    python -m benchmarks.quality.curation --runs runs/curation --only whole   # some of them

The pool has 4,924 images of CIFAR-10, each class smaller than the one before, the first a hundred times the
last, and 20 or 60 near copies of 250 of them: cropped by up to 2 pixels and compressed again. For each seed
an encoder learns from the whole pool, from a random half, and from what ``selfsup curate`` keeps, which may
look at the features of the encoder of the whole. All of a pool take the same number of steps, and are judged
with the same balanced bank and test images. Rows go to ``benchmarks/results/curation.jsonl``.
"""

import argparse
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks.rows import keep
from selfsup import load_encoder
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.select import long_tailed
from selfsup.evaluation import evaluate
from selfsup.runtime import quiet

COPIED, IMBALANCE = 250, 100
STEPS = {20: 500, 60: 1500}  # by the copies of each image that is copied
SEEDS = (0, 1, 2)
JUDGED = 5_000  # images of the bank, and of the test
LEARNED = "experiment=cifar10_cpu_simclr online=none report=false evaluate=false"
# variant -> the settings of `selfsup curate` that choose what is kept; None: it is not asked
VARIANTS: dict[str, str | None] = {
    "whole": None,
    "random half": None,
    "balanced": "mode=balanced share=0.5 encoder={encoder}",
    "copies dropped": "mode=copies",
}


def make_pool(path: Path, data: str, copies: int) -> None:
    """Write the pool, with the labels that the curation never sees."""
    table = pq.read_table(f"{data}/cifar10-train.parquet").slice(0, 20_000)
    rows = long_tailed(torch.tensor(table["label"].to_pylist()), IMBALANCE)
    draw = np.random.default_rng(0)
    chosen = table.take(rows.tolist())
    images, labels = chosen["image"].to_pylist(), chosen["label"].to_pylist()
    for original in draw.choice(len(rows), COPIED, replace=False).tolist():
        with Image.open(io.BytesIO(images[original]["bytes"])) as picture:
            for _ in range(copies):
                left, top, right, bottom = (int(each) for each in draw.integers(0, 3, 4))
                cut = picture.crop((left, top, 32 - right, 32 - bottom)).resize(
                    (32, 32), Image.Resampling.BICUBIC
                )
                written = io.BytesIO()
                cut.save(written, "JPEG", quality=int(draw.integers(60, 95)))
                images.append({"bytes": written.getvalue(), "path": None})
                labels.append(labels[original])
    order = draw.permutation(len(images)).tolist()
    columns = {"image": [images[i] for i in order], "label": [labels[i] for i in order]}
    types = pa.schema([chosen.schema.field("image"), chosen.schema.field("label")], chosen.schema.metadata)
    pq.write_table(pa.table(columns, schema=types), path)


def of_pool(runs: Path, data: str) -> str:
    return f"data=parquet data.train={runs / 'pool.parquet'} data.test={data}/cifar10-test.parquet[:1000]"


def selfsup(command: str, settings: str) -> None:
    done = subprocess.run([sys.executable, "-m", "selfsup.commands", command, *settings.split()])
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}")


def trained(variant: str, seed: int, runs: Path, data: str, steps: int) -> Path:
    """The run's folder, made unless it is there."""
    name = f"{variant.replace(' ', '-')}-{seed}"
    folder, kept, choice = runs / name, runs / f"{name}.npy", VARIANTS[variant]
    if not (folder / "encoder" / "card.json").is_file():
        settings = (
            f"{LEARNED} {of_pool(runs, data)} trainer.max_steps={steps} seed={seed} out={runs} name={name}"
        )
        if variant == "random half" and not kept.is_file():
            half = np.random.default_rng(seed).permutation(pq.read_metadata(runs / "pool.parquet").num_rows)
            np.save(kept, np.sort(half[: len(half) // 2]))
        elif choice and not kept.is_file():
            encoder = trained("whole", seed, runs, data, steps) / "encoder"
            given = choice.format(encoder=encoder)
            selfsup("curate", f"{given} {of_pool(runs, data)} seed={seed} out={kept}")
        selfsup("train", f"{settings} data.indices={kept}" if kept.is_file() else settings)
    return folder


def row_of(variant: str, seed: int, run: Path, runs: Path, data: str) -> dict[str, Any]:
    """The row of a run: what it learned from, and its accuracies."""
    kept = runs / f"{run.name}.npy"
    table = pq.read_table(runs / "pool.parquet")
    own = np.array([image["path"] is not None for image in table["image"].to_pylist()])
    labels = np.array(table["label"].to_pylist())
    rows = np.load(kept) if kept.is_file() else np.arange(len(own))
    given = (
        f"data=parquet data.train={runs / 'bank.parquet'} data.test={data}/cifar10-test.parquet[:{JUDGED}]"
    )
    config = load_config("evaluate", ["encoder=none", "protocols=[knn,linear]", *given.split()])
    encoder = load_encoder(run / "encoder")
    settings = {"protocols": config["protocols"], "controls": False}
    results = evaluate(encoder, *load_data(config["data"]), config["data"], **settings)
    scores = results["rows"][0]["scores"]
    return {
        "variant": variant,
        "seed": seed,
        "choice": VARIANTS[variant],
        "images": len(rows),
        "originals": int(own[rows].sum()),
        "largest_class": float(np.bincount(labels[rows]).max() / len(rows)),
        "scores": {
            name: {key: scores[name][key] for key in ("value", "interval", "correct")} for name in scores
        },
    }


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--copies", nargs="+", type=int, choices=STEPS, default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS)
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    for copies in arguments.copies:
        runs = arguments.runs / f"copies-{copies}"
        runs.mkdir(parents=True, exist_ok=True)
        if not (runs / "pool.parquet").is_file():
            make_pool(runs / "pool.parquet", arguments.data, copies)
        bank = pq.read_table(f"{arguments.data}/cifar10-train.parquet").slice(40_000, JUDGED)
        pq.write_table(bank, runs / "bank.parquet")
        for seed in arguments.seeds:
            for variant in arguments.only:
                run = trained(variant, seed, runs, arguments.data, STEPS[copies])
                row = row_of(variant, seed, run, runs, arguments.data)
                row |= {"copies": copies, "steps": STEPS[copies]}
                print(copies, variant, seed, {name: score["value"] for name, score in row["scores"].items()})
                keep("curation", [row], "copies", "variant", "seed")


if __name__ == "__main__":
    main()
