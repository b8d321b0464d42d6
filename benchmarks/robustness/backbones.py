"""Which of timm's models each method takes, by the file of timm that defines them.

    python -m benchmarks.robustness.backbones                       # all, about half an hour
    python -m benchmarks.robustness.backbones --families eva beit

Every model is built at its own image size on torch's device ``meta``, with a single block where all blocks
are alike. The trials of :mod:`selfsup.encoder.trials` then check shapes; the tests check values on one small
model of each kind. What SparK needs is checked with values on the smallest model of each family. A row of
``benchmarks/results/backbones.jsonl`` is a family: how many models pass, and why the others are refused.
"""

import argparse
import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import timm
import torch

from benchmarks.rows import keep
from selfsup import UsageError
from selfsup.encoder import Encoder
from selfsup.encoder.creation import create
from selfsup.encoder.trials import TRIALS, require_ability
from selfsup.methods.requirements import require_maskable

POOLED = "pooled features"
# Files of models whose blocks are all alike.
ALIKE = {"beit", "cait", "deit", "eva", "naflexvit", "vision_transformer", "vision_transformer_relpos"}
_ADVICE = "; take a vision transformer, such as backbone=vit_tiny or backbone=vit_small"


def families(only: list[str] | None) -> dict[str, list[str]]:
    """timm's models by the file that defines them; those of other packages are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_models():
        where = timm.models.model_entrypoint(name).__module__
        if where.startswith("timm.") and (not only or where.rpartition(".")[2] in only):
            found[where.rpartition(".")[2]].append(name)
    return dict(sorted(found.items()))


def built(name: str) -> Encoder:
    """A model on the current device; of one block, where all blocks are alike."""
    size = list(timm.get_pretrained_cfg(name).input_size[1:])  # type: ignore[union-attr]
    family = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    try:
        model = create(name, size, {"depth": 1} if family in ALIKE else {})
    except UsageError:  # a few name all widths and depths themselves
        model = create(name, size, {})
    recipe = {"name": name, "image_size": size, "model_args": {}, "positions": "learned"}
    return Encoder(model, recipe, (0.5,) * 3, (0.5,) * 3).eval()


def asked(encoder: Encoder) -> Iterator[tuple[str, str | None]]:
    """Each need of methods, and what is said where a model does not meet it."""
    for need in (POOLED, *TRIALS):
        try:
            if need == POOLED:
                with torch.no_grad():
                    encoder.require_size(encoder.input_size)
            else:
                require_ability(encoder, need)
            yield need, None
        except UsageError as error:
            yield need, str(error)


def answers(name: str) -> tuple[dict[str, str | None], float]:
    """What :func:`asked` gives, with values where shapes alone will not do, and the model's parameters."""
    try:
        with torch.device("meta"):
            encoder = built(name)
            found = dict(asked(encoder))
    except UsageError as error:
        return dict.fromkeys((POOLED, *TRIALS), str(error)), math.inf
    if any(said and "meta" in said for said in found.values()):
        found = dict(asked(built(name)))
    return found, sum(value.numel() for value in encoder.parameters())


def maskable(name: str) -> str | None:
    """Why SparK does not take a model; None if it does."""
    try:
        require_maskable(built(name), "spark")
    except UsageError as error:
        return general(str(error), name)
    return None


def general(said: str, name: str) -> str:
    """What is said of a model without its name and the numbers of its shapes."""
    reason = said.replace(f"'{name}'", "NAME").replace(_ADVICE, "")
    return re.sub(r"\d+", "#", reason.partition("; take ")[0]) if "(" in reason else reason


def row(family: str, names: list[str]) -> dict[str, Any]:
    passed: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    sizes = {}
    for name in names:
        found, sizes[name] = answers(name)
        passed[", ".join(need for need, said in found.items() if said is None)] += 1
        for need, said in found.items():
            if said is not None:
                refused[need][general(said, name)] += 1
    smallest = min(names, key=lambda name: sizes[name])
    return {
        "family": family,
        "models": len(names),
        "passed": dict(passed),
        "refused": {need: dict(said) for need, said in refused.items()},
        "spark": {"model": smallest, "refused": maskable(smallest)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="*", help="files of timm, such as eva; default: all")
    warnings.simplefilter("ignore")
    for family, names in families(parser.parse_args().families).items():
        found = row(family, names)
        keep("backbones", [found], "family")
        print(family, found["models"], found["passed"], found["spark"], flush=True)


if __name__ == "__main__":
    main()
