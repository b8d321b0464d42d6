"""What losses about how a view was made add to SimCLR: classes, and which way up an image is.

    python -m benchmarks.quality.auxiliary --runs runs/auxiliary                 # all, one run after another
    python -m benchmarks.quality.auxiliary --runs runs/auxiliary --only simclr lorot --seeds 0

A small ResNet learns from 10,000 images of CIFAR-10, for each seed without such a loss and with each; and, as
controls, from turned views without a loss that tells their turn. Encoders are judged by kNN on the test
images and by the rotation probe, on images that the probe did not learn from. Runs that are there are not
made again; a run that was stopped goes on. Rows go to ``benchmarks/results/auxiliary.jsonl``.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.quality.golden import call
from benchmarks.quality.transfer import CIFAR
from benchmarks.rows import keep
from selfsup import load_encoder
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.evaluation import evaluate
from selfsup.runtime import quiet

EPOCHS, SEEDS = 20, (0, 1, 2)
LEARNED = "experiment=cifar10_cpu_simclr online=none report=false evaluate=false"
# variant -> what is typed for it beside all else
VARIANTS = {
    "simclr": "",
    "whole turns, no loss": "views.each.turn=whole",
    "rotation": "views.each.turn=whole auxiliary=[rotation]",
    "quadrant turns, no loss": "views.each.turn=quadrant",
    "lorot": "views.each.turn=quadrant auxiliary=[lorot]",
    "lorot, mgda": "views.each.turn=quadrant auxiliary=[lorot] combine=mgda",
    "augself": "auxiliary=[augself]",
}


def trained(variant: str, seed: int, runs: Path, data: str, epochs: int) -> Path:
    """The run's folder, made or continued unless its encoder is there."""
    folder = runs / f"{variant.replace(', ', '-').replace(' ', '-')}-{epochs}-{seed}"
    if not (folder / "encoder" / "card.json").is_file():
        given = f"{LEARNED} {CIFAR.format(data=data)} {VARIANTS[variant]} trainer.max_epochs={epochs}"
        new = f"{given} seed={seed} out={runs} name={folder.name}"
        typed = f"resume={folder}" if folder.exists() else new
        call(["selfsup", "train", *typed.split()])
    return folder


def judged(run: Path, data: str) -> dict[str, Any]:
    """The scores of a run's encoder."""
    given = CIFAR.format(data=data).split()
    # More images than the protocol's own: what losses add is small.
    given += ["protocols=[knn,rotation]", "protocols.rotation.needs.turns.images=10000"]
    config = load_config("evaluate", ["encoder=none", *given])
    settings = {"protocols": config["protocols"], "controls": False}
    encoder = load_encoder(run / "encoder")
    results = evaluate(encoder, *load_data(config["data"]), config["data"], **settings)
    scores = results["rows"][0]["scores"]
    return {name: {key: scores[name][key] for key in ("value", "interval")} for name in scores}


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    for seed in arguments.seeds:
        for variant in arguments.only:
            run = trained(variant, seed, arguments.runs, arguments.data, arguments.epochs)
            scores = judged(run, arguments.data)
            row = {"variant": variant, "seed": seed, "epochs": arguments.epochs, "scores": scores}
            print(variant, seed, {name: score["value"] for name, score in scores.items()})
            keep("auxiliary", [{**row, "typed": VARIANTS[variant]}], "variant", "seed", "epochs")


if __name__ == "__main__":
    main()
