"""What scores without labels are worth: each of them beside accuracy, along runs and at their ends.

    python -m benchmarks.quality.matrix --runs runs/matrix                                # all, one by one
    python -m benchmarks.quality.matrix --runs runs/matrix --sets digits --seeds 0        # some

Each method learns from each set of images for the same number of steps, and leaves eight checkpoints.
A checkpoint's encoder is given every score that needs no labels, on images it learned from; the method's own
loss on images that were held out; and, to judge those scores by, the accuracy of nearest neighbours, of a
linear classifier and of fine-tuning on test images. Beside them stands the accuracy of nearest neighbours on
training images, by which a checkpoint is chosen where there are labels. A row of
``benchmarks/results/matrix.jsonl`` is a run. Rows that are there are not made again, a run that was
stopped goes on, and a run that is judged is removed.
"""

import argparse
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality.golden import call
from benchmarks.rows import keep, read
from selfsup.build import make_encoder, make_method
from selfsup.callbacks.checkpoint_files import checkpoints, step_of
from selfsup.config import load_config
from selfsup.data import Source, load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.encoder import Encoder
from selfsup.evaluation import evaluate
from selfsup.methods.base import Method
from selfsup.methods.parts import copied
from selfsup.runs import read_config
from selfsup.runtime import quiet

METHODS = ("simclr", "barlow", "vicreg", "byol", "swav", "dino", "mae", "jepa")
STEPS, EVERY, SEEDS = 1_000, 125, (0, 1)
SCORES = "spectra,lidar,alignment,uniformity,clid,rotation,knn,linear"
# Fewer images than the protocols' own, for there are hundreds of encoders; more than any encoder is wide.
SPARING = [
    *(
        f"protocols.{name}.needs.views.{key}"
        for name in ("lidar", "alignment")
        for key in ("images=600", "count=5")
    ),
    "protocols.rotation.needs.turns.images=1000",
]
UNSEEN = 100_000  # an epoch that no run reaches
FEW = "[:1000]"  # images to fine-tune with


@dataclass(frozen=True)
class Images:
    """A set of images: how it is typed, its two splits, and slices of the first.

    Attributes:
        prefix: of the experiments whose settings are taken.
        learned, held_out: slices of the training split.
        bank, queries: slices of what is learned from, for choosing by labels; the bank is also what all
            scores are computed on.
    """

    prefix: str
    typed: str
    train: str
    test: str
    learned: str
    held_out: str
    bank: str
    queries: str

    def settings(self, train: str, test: str | None, data: str) -> list[str]:
        """Of a slice of the training split to train on, and one to test on, or the test split."""
        test = self.test if test is None else self.train + test
        given = f"{self.typed} data.train={self.train}{train} data.test={test}"
        return given.format(data=data).split()


def parquet(name: str, test: str) -> Images:
    slices = ("[:10000]", "[10000:11000]", "[:3000]", "[3000:5000]")
    typed = "data=parquet data.image_size=32"
    return Images("cifar10_cpu", typed, f"{{data}}/{name}-train.parquet", f"{{data}}/{name}-{test}", *slices)


SETS = {
    "digits": Images(
        "digits", "data=digits", "train", "test", "[:80%]", "[80%:]", bank="[:60%]", queries="[60%:80%]"
    ),
    "cifar10": parquet("cifar10", "test.parquet[:3000]"),
    "tinyimagenet50": parquet("tinyimagenet50", "val.parquet"),
}


def trained(name: str, method: str, seed: int, data: str, runs: Path) -> tuple[Path, str]:
    """The folder of a run, made or gone on with, and what was typed for it."""
    images = SETS[name]
    typed = [
        f"experiment={images.prefix}_{method}",
        *images.settings(images.learned, images.held_out, data),
        f"trainer.max_steps={STEPS}",
        f"trainer.checkpoint_steps={EVERY}",
        "trainer.checkpoint_minutes=1e6",
        f"trainer.checkpoints_kept={STEPS // EVERY + 1}",
        f"seed={seed}",
        "online=none",
        "evaluate=false",
        "report=false",
    ]
    folder = runs / f"{name}-{method}-{seed}"
    if not (folder / "encoder" / "card.json").is_file():
        given = [f"resume={folder}"] if folder.exists() else [*typed, f"out={runs}", f"name={folder.name}"]
        call(["selfsup", "train", *given])
    return folder, " ".join(["selfsup train", *typed])


def judged(name: str, folder: Path, data: str) -> list[dict[str, Any]]:
    """The scores of a run's checkpoints, in their order, and before them those of the untrained encoder."""
    images, config = SETS[name], read_config(folder, "from")
    learned, held_out = (
        load_data(load_config("evaluate", ["encoder=none", *given])["data"])[0]
        for given in (
            images.settings(images.learned, None, data),
            images.settings(images.held_out, None, data),
        )
    )
    untrained = make_method(config, make_encoder(config), devices=1)
    losses = {0: losses_of(untrained, config, held_out, learned)}
    encoders: dict[int, Encoder] = {0: untrained.learned_encoder().eval()}
    for checkpoint in checkpoints(folder):
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        method = make_method(config, make_encoder(config), devices=1)
        method.load_state_dict(state)
        losses[step_of(checkpoint)] = losses_of(method, config, held_out, learned)
        encoders[step_of(checkpoint)] = method.learned_encoder().eval()
    by_step: dict[int, dict[str, Any]] = {step: {"step": step, **losses[step]} for step in encoders}
    last = {STEPS: encoders[STEPS]}  # the slow protocol judges it alone
    for which, protocols, more, train, test, ending in (
        (encoders, SCORES, SPARING, images.bank, None, ""),
        (encoders, "knn", [], images.bank, images.queries, "-on-training"),
        (last, "finetune", ["protocols.finetune.epochs=15"], FEW, None, ""),
    ):
        given = [f"protocols=[{protocols}]", *more, *images.settings(train, test, data)]
        found = load_config("evaluate", ["encoder=none", *given])
        rows = evaluate(
            {str(step): encoder for step, encoder in which.items()},
            *load_data(found["data"]),
            found["data"],
            protocols=found["protocols"],
            controls=False,
        )["rows"]
        for row in rows:
            scores = {f"{key}{ending}": _rounded(score["value"]) for key, score in row["scores"].items()}
            by_step[int(row["name"])] |= scores
    return list(by_step.values())


def losses_of(method: Method, config: Mapping[str, Any], held_out: Source, learned: Source) -> dict[str, Any]:
    """Of images held out and of as many learned ones, through views that the method did not learn from."""
    method = copied(method).train()  # which changes its batch norms
    found = {}
    for key, source in (("loss-held-out", held_out), ("loss-learned", learned)):
        order = make_order(source, config["batch_size"], seed=0)
        order.epoch = UNSEEN
        batches = training_loader(source, method.views, order, workers=0)
        values = []
        for number, raw in zip(range(len(held_out) // config["batch_size"]), batches, strict=False):
            generator = torch.Generator().manual_seed(number)
            with torch.no_grad():
                values.append(method(method.batch(raw, STEPS, STEPS, generator)).loss.item())
            method.forget()
        found[key] = _rounded(sum(values) / len(values))
    return found


def _rounded(value: float | None) -> float | None:
    """To six digits, so that rows stay short."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def main() -> None:
    """Make and judge the runs that the command line asks for, unless their rows are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which runs are made")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    arguments = parser.parse_args()
    quiet()
    there = {(row["set"], row["method"], row["seed"]) for row in read("matrix")}
    for seed, method, name in product(arguments.seeds, arguments.methods, arguments.sets):
        if (name, method, seed) in there:
            continue
        started = time.process_time()
        folder, typed = trained(name, method, seed, arguments.data, arguments.runs)
        found = judged(name, folder, arguments.data)
        row = {"set": name, "method": method, "seed": seed, "trained": typed, "checkpoints": found}
        row["core_minutes_of_judging"] = round((time.process_time() - started) / 60, 2)
        keep("matrix", [row], "set", "method", "seed")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
