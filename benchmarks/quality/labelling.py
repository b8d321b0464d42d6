"""What 50 labels are worth when they are chosen, beside 50 random ones.

    python -m benchmarks.quality.labelling --features runs --encoders runs/digits runs/cifar10 runs/tiny

One run a data set, in the order of SETS; nothing is trained. For each of ten seeds every strategy of
``selfsup curate mode=label`` chooses 50 training images, and then 50 more; the classifier is that of the
few-shot protocol (ridge), judged on the test split, which no choice sees. Differences are paired: seed i of a
strategy against random draw i. Rows go to ``benchmarks/results/labelling.jsonl``.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.transfer import CIFAR, TINY
from benchmarks.rows import keep
from selfsup import load_encoder
from selfsup.config import load_config
from selfsup.curation.draws import choose, draws
from selfsup.curation.rounds import next_round, probe
from selfsup.data import load_data
from selfsup.evaluation import Features, extract, student
from selfsup.evaluation.classifiers.probes import logits
from selfsup.evaluation.features.images import fitting
from selfsup.runtime import quiet

COUNT, SEEDS = 50, 10
SETS = {"digits": "data=digits data.image_size=16", "CIFAR-10": CIFAR, "Tiny-ImageNet, 50 classes": TINY}
# strategy of the first round, of the second
PLANS = (
    ("random", "random"),
    ("typical", "typical"),
    ("covering", "covering"),
    ("farthest", "farthest"),
    ("typical", "uncertain"),
)


def features(settings: str, run: Path, data: str, kept: Path) -> tuple[Features, Features]:
    """Of the training and test images, by a run's encoder; kept in a file."""
    if kept.is_file():
        x, labels, tx, tlabels = torch.load(kept)
        return Features(x, labels, torch.arange(len(x))), Features(tx, tlabels, torch.arange(len(tx)))
    encoder = load_encoder(run / "encoder")
    given = settings.format(data=data).split()
    sources = load_data(load_config("evaluate", ["encoder=none", *given])["data"])
    train, test = (extract(encoder, each, fitting(encoder), encoder.mean, encoder.std) for each in sources)
    torch.save((train.x, train.labels, test.x, test.labels), kept)
    return train, test


def chosen(train: Features, plan: tuple[str, str], seed: int) -> list[Tensor]:
    """The images labelled after each round; those of random plans are drawn at once."""
    assert train.labels is not None
    draw = draws(seed)
    known = torch.zeros(0, dtype=torch.int64)
    if plan[0] == "random":
        order = choose(draw, 2 * COUNT, len(train))
        return [order[:COUNT], order]
    rounds = []
    for strategy in plan:
        labels = train.labels[known] if len(known) else None
        known = torch.cat([known, next_round(train.x, COUNT, strategy, draw, known, labels).rows])
        rounds.append(known)
    return rounds


def accuracy(train: Features, rows: Tensor, test: Features) -> float:
    assert train.labels is not None
    present = train.labels[rows].unique()
    weights = probe(F.normalize(train.x[rows]), train.labels[rows])
    right = present[logits(F.normalize(test.x), weights).argmax(0)] == test.labels
    return float(right.double().mean())


def measured(name: str, train: Features, test: Features) -> list[dict[str, Any]]:
    """A row for each plan and round."""
    assert train.labels is not None
    by_random: list[list[float]] = []
    rows = []
    for plan in PLANS:
        picks = [chosen(train, plan, seed) for seed in range(SEEDS)]
        for number in (0, 1):
            if number == 0 and plan == ("typical", "uncertain"):
                continue  # its first round is that of typical
            found = [accuracy(train, rounds[number], test) for rounds in picks]
            if plan[0] == "random":
                by_random.append(found)
            gains = [a - b for a, b in zip(found, by_random[number], strict=True)]
            hit = [len(train.labels[rounds[number]].unique()) for rounds in picks]
            rows.append(
                {
                    "data": name,
                    "strategy": plan[number] if plan[0] == plan[1] else f"{plan[0]}, then {plan[1]}",
                    "labels": COUNT * (number + 1),
                    "accuracies": found,
                    "gain": sum(gains) / SEEDS,
                    "interval": None if plan[0] == "random" else list(student(gains)),
                    "classes": sum(hit) / SEEDS,
                    "of": len(train.labels.unique()),
                }
            )
            print({key: value for key, value in rows[-1].items() if key != "accuracies"}, sum(found) / SEEDS)
    return rows


def over_sets(description: str | None, measure: Any, name: str, *keys: str) -> None:
    """Keep the rows that ``measure(set, training features, test features)`` gives for each set."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="+", type=Path, required=True, help="runs, one for each set")
    parser.add_argument("--features", type=Path, required=True, help="folder in which features stay")
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    for (title, settings), run in zip(SETS.items(), arguments.encoders, strict=False):
        encoder = load_encoder(run / "encoder")
        made = f"{encoder.card['method']}, {encoder.card['steps']} steps"
        kept = arguments.features / f"{title.partition(',')[0]}.pt"
        rows = measure(title, *features(settings, run, arguments.data, kept))
        keep(name, [{**row, "trained": made} for row in rows], *keys)


if __name__ == "__main__":
    over_sets(__doc__, measured, "labelling", "data", "strategy", "labels")
