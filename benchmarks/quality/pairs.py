"""How many pairs that belong together 200 answers buy, by which pairs are asked about.

    python -m benchmarks.quality.pairs --features features --encoders runs/digits runs/cifar10

One run a data set, in the order of SETS; nothing is trained. The labels answer. An answer of yes connects two
images, and all pairs of the images that are connected follow. Pairs are chosen at random, among each image's
ten nearest, as the most similar ones of these, as those whose similarity is in the middle of these (about
which the features are least sure), and as ``selfsup curate mode=pairs`` chooses them, at once or in four
rounds. Rows go to ``benchmarks/results/pairs.jsonl``.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.labelling import over_sets
from selfsup.curation.asking import known, next_pairs
from selfsup.curation.draws import Draw, choose, draws
from selfsup.evaluation import Features
from selfsup.evaluation.classifiers.neighbours import neighbours

COUNT, SEEDS, NEAREST = 200, 5, 10


def at_random(x: Tensor, labels: Tensor, draw: Draw) -> Tensor:
    return torch.stack([choose(draw, COUNT, len(x)) for _ in "ab"], dim=1)


def among_nearest(order: Callable[[Tensor, Draw], Tensor]) -> Callable[[Tensor, Tensor, Draw], Tensor]:
    """The first pairs of an image and one of its nearest, by an order of their similarities."""

    def chosen(x: Tensor, labels: Tensor, draw: Draw) -> Tensor:
        similarity, near = (each[:, 1:].flatten() for each in neighbours(x, x, NEAREST + 1))
        pairs = torch.stack([torch.arange(len(x)).repeat_interleave(NEAREST), near], dim=1)
        kept = order(similarity, draw)[: 2 * COUNT].tolist()  # a pair may be there twice
        return torch.tensor(list(dict.fromkeys(tuple(sorted(pairs[row].tolist())) for row in kept))[:COUNT])

    return chosen


def in_rounds(rounds: int) -> Callable[[Tensor, Tensor, Draw], Tensor]:
    def chosen(x: Tensor, labels: Tensor, draw: Draw) -> Tensor:
        ends = torch.zeros(0, 2, dtype=torch.int64)
        for _ in range(rounds):
            same = (labels[ends[:, 0]] == labels[ends[:, 1]]).long()
            ends = torch.cat([ends, next_pairs(x, COUNT // rounds, draw, ends, same)])
        return ends

    return chosen


STRATEGIES = {
    "random pairs": at_random,
    "random neighbours": among_nearest(lambda similarity, draw: choose(draw, 2 * COUNT, len(similarity))),
    "least sure neighbours": among_nearest(lambda s, draw: (s - s.median()).abs().argsort()),
    "most similar neighbours": among_nearest(lambda s, draw: s.argsort(descending=True)),
    "mode=pairs": in_rounds(1),
    "mode=pairs, four rounds": in_rounds(4),
}


def measured(name: str, train: Features, test: Features) -> list[dict[str, Any]]:
    """A row for each strategy: yeses, pairs that follow and images that they connect, by seed."""
    assert train.labels is not None
    x, labels = F.normalize(train.x.float()), train.labels
    rows = []
    for strategy, chosen in STRATEGIES.items():
        found: dict[str, list[int]] = {"yes": [], "follow": [], "images": []}
        for seed in range(SEEDS):
            ends = chosen(x, labels, draws(seed))
            same = (labels[ends[:, 0]] == labels[ends[:, 1]]).long()
            learned = known(ends, same, len(x))
            found["yes"].append(int(same.sum()))
            found["follow"].append(len(learned.follow))
            found["images"].append(len(learned.follow.unique()))
        rows.append({"data": name, "strategy": strategy, "answers": COUNT, **found})
        print(rows[-1])
    return rows


if __name__ == "__main__":
    over_sets(__doc__, measured, "pairs", "data", "strategy")
