"""Few-shot accuracy by how features are scaled and how the penalty is chosen, on a hold-out of digits.

    python -m benchmarks.quality.fewshot --encoders runs/digits-barlow/encoder runs/digits-mae/encoder

Beside the encoders stand raw digits, their principal components and an untrained encoder. Shots are drawn
from three fifths of the training split and judged on the others; the test split is not used.
Results go to ``benchmarks/results/fewshot.jsonl``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import keep
from selfsup import load_encoder
from selfsup.build import make_encoder
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.evaluation import Features, extract, pixels
from selfsup.evaluation.classifiers.fewshot import SINGLE, STRENGTHS, ridge
from selfsup.evaluation.classifiers.probes import logits, standardise, stratified
from selfsup.evaluation.features.images import fitting
from selfsup.evaluation.rows import principal_components

SHOTS, DRAWS, HELD = (1, 2, 5, 25), 10, 0.4


def accuracies(fit: Features, judged: Features, shots: int) -> dict[str, Any]:
    """Mean accuracy for each fixed strength, and for the chosen one."""
    assert fit.labels is not None
    generator = torch.Generator().manual_seed(7)
    members = [(fit.labels == label).nonzero().squeeze(1) for label in fit.labels.unique()]
    answer = torch.arange(len(members)).repeat_interleave(shots)
    offered = (SINGLE,) if shots == 1 else STRENGTHS
    fixed: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    chosen: list[float] = []
    strengths: list[float] = []
    for _ in range(DRAWS):
        rows = [own[torch.randperm(len(own), generator=generator)[:shots]] for own in members]
        x = fit.x[torch.cat(rows)]
        for strength, found in fixed.items():
            found.append(told(judged, ridge(x, answer, [strength])[0]))
        weights, strength = ridge(x, answer, offered)
        chosen.append(told(judged, weights))
        strengths.append(strength)
    return {
        "fixed": {f"{strength:g}": sum(found) / DRAWS for strength, found in fixed.items()},
        "chosen": sum(chosen) / DRAWS,
        "strengths": strengths,
    }


def told(judged: Features, weights: Tensor) -> float:
    return float((logits(judged.x, weights).argmax(0) == judged.labels).double().mean())


def rows(encoders: list[str]) -> dict[str, Features]:
    """Features of the training split by name."""
    config = load_config("train", ["experiment=digits_barlow"])
    source, _ = load_data(config["data"])
    size = config["data"]["image_size"]
    found = {"pixels": pixels(source, size)}
    found["pixels, PCA"] = principal_components(found["pixels"], found["pixels"], 128)[0]
    torch.manual_seed(0)
    for name, encoder in {
        "untrained": make_encoder(config),
        **{Path(path).parent.name: load_encoder(path) for path in encoders},
    }.items():
        found[name] = extract(encoder, source, fitting(encoder), encoder.mean, encoder.std)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="*", default=[])
    given = parser.parse_args()
    table = []
    for name, features in rows(given.encoders).items():
        assert features.labels is not None
        held = stratified(features.labels, HELD, seed=0)
        fit, judged = (Features(features.x[m], features.labels[m], features.index[m]) for m in (~held, held))
        plain = fit.x, judged.x
        for scaling, (fit.x, judged.x) in {"standardised": standardise(*plain), "centred": plain}.items():
            for shots in SHOTS:
                row = {
                    "name": name,
                    "scaling": scaling,
                    "shots": shots,
                    "width": fit.x.shape[1],
                    **accuracies(fit, judged, shots),
                }
                table.append(row)
                print(json.dumps(row))
    cards = {path: load_encoder(path).card["config"] for path in given.encoders}
    trained = {
        path: f"{card['method']['name']}, {card['trainer']['max_epochs']} epochs"
        for path, card in cards.items()
    }
    keep("fewshot", [{**row, "trained": trained} for row in table], "name", "scaling", "shots")


if __name__ == "__main__":
    main()
