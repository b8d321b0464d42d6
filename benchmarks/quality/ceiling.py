"""The ceiling on digits: classifiers with every label.

    python -m benchmarks.quality.ceiling --seeds 5

A support vector machine on the pixels, whose two settings are chosen by five-fold cross-validation on the
training images. And the backbone of ``experiment=digits_simclr``, trained on the same views for as long as
with SimCLR, but to predict the labels; its features are judged as those of a method. The test images are used
once. A method without labels cannot be expected to exceed these two. Results go to
``benchmarks/results/ceiling.jsonl``.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from torch import nn

from benchmarks.quality.tuning import PROTOCOLS, judged
from benchmarks.rows import keep
from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.data import ImageArray, digits
from selfsup.data.batches import make_order, training_loader
from selfsup.encoder import Encoder, save_encoder
from selfsup.evaluation.intervals import wilson
from selfsup.methods.base import build_optimizer

CHOICES = {"C": [1, 3, 10, 30, 100], "gamma": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]}


def pixels(source: ImageArray) -> np.ndarray:
    """Grey levels in [0, 1], (N, 64) of N images."""
    return source.images[:, 0].flatten(1).double().div(255).numpy()


def svm() -> dict[str, Any]:
    """Choose, learn, judge once."""
    train, test = digits()
    search = GridSearchCV(SVC(), CHOICES, cv=5).fit(pixels(train), train.labels.numpy())
    right = int((search.predict(pixels(test)) == test.labels.numpy()).sum())
    return {"value": right / len(test), "interval": wilson(right, len(test)), "chosen": search.best_params_}


def told(seed: int) -> Encoder:
    """The backbone, trained by cross-entropy on the views and for the steps of SimCLR's run of that seed."""
    config = load_config("train", ["experiment=digits_simclr", f"seed={seed}"])
    torch.manual_seed(seed)
    method = make_method(config, make_encoder(config), 1)
    source, size = digits()[0], config["batch_size"]
    classifier = nn.Linear(method.encoder.dim, len(source.classes))
    learner = nn.Sequential(method.encoder, classifier)
    optimizer = build_optimizer(learner, config["method"]["optimizer"])
    loader = training_loader(source, method.views, make_order(source, size, seed), 0, torch.device("cpu"))
    total, step = config["trainer"]["max_epochs"] * (len(source) // size), 0
    while step < total:
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = method.learning_rate(step, total) * group["lr_scale"]
            views = method.views(batch, batch["epoch"])
            loss = F.cross_entropy(learner(torch.cat(views)), batch["label"].repeat(len(views)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return method.encoder.eval()


def scores(encoder: Encoder) -> dict[str, Any]:
    """The scores of `selfsup evaluate`, by name."""
    evaluate = ["selfsup", "evaluate", "data=digits", PROTOCOLS, "controls=false"]
    with tempfile.TemporaryDirectory() as out:
        (found,) = judged(evaluate, save_encoder(encoder, Path(out) / "encoder")).values()
    return found


def main() -> None:
    """Learn and judge, by both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    found = {"svm": svm(), "backbone": {"seeds": [scores(told(seed)) for seed in seeds]}}
    print(found)
    keep("ceiling", [{"suite": "digits", "by": by, **row} for by, row in found.items()], "suite", "by")


if __name__ == "__main__":
    main()
