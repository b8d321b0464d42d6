"""Everything there is to say about one encoder, beside two controls."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rich.progress import Progress

from selfsup.data import Source
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features import (
    PRECISIONS,
    Features,
    evaluating,
    extract_each,
    one_channel,
    raw_pixels,
    seer,
)
from selfsup.evaluation.protocols import labelled, record, unlabelled

# The settings of `evaluate` that a configuration holds under the same names.
PROTOCOL = ("seed", "controls", "untrained_seeds", "k", "temperature", "shots", "draws")
SETTINGS = (*PROTOCOL, "batch_size", "precision")


def evaluate(
    encoder: Encoder,
    train: Source,
    test: Source,
    data_config: Mapping[str, Any],
    *,
    seed: int = 0,
    controls: bool = True,
    untrained_seeds: int = 1,
    k: int = 20,
    temperature: float = 0.07,
    shots: int = 5,
    draws: int = 20,
    batch_size: int = 256,
    precision: str = "float32",
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> dict[str, Any]:
    """Scores of an encoder, of the same architecture untrained, and of raw pixels.

    Images are preprocessed as the encoder was trained: its own size, mean and deviation. Each is
    decoded once for all rows. Without labels, only the label-free scores are taken.

    Args:
        encoder: judged; comes back in its mode and on its device.
        train: classifiers are fitted and settings selected on it.
        test: accuracies are taken on it, and nothing else.
        data_config: ``name``, ``workers`` and ``max_unreadable`` are read, each optional.
        seed: of the hold-out, the draws and the first untrained encoder.
        controls: whether to add the controls.
        untrained_seeds: number of untrained encoders.
        k, temperature: of the nearest neighbours.
        shots, draws: of the few-shot accuracy.
        batch_size, precision: of the encoder's passes.
        device: that the encoder runs on.
        progress: show a bar.

    Returns:
        Plain JSON types. ``rows``: one for each encoder with ``name``, ``encoder`` (its fingerprint),
        ``dim`` and ``scores``, records by protocol (:func:`selfsup.evaluation.protocols.record`);
        accuracies are from 0 to 1. Beside them the data, preprocessing, seed and versions.

    Raises:
        UsageError: no test images, one class, settings out of range, or too many unreadable images.
    """
    least = {"k": k, "shots": shots, "draws": draws, "batch_size": batch_size}
    _check_settings(least, temperature, precision)
    _check_data(train, test)
    has_labels = train.labels is not None and test.labels is not None
    names = ["encoder"]
    judged = [encoder]
    if controls:
        names += ["untrained" if i == 0 else f"untrained {i + 1}" for i in range(untrained_seeds)]
        judged += [encoder.untrained(seed + i) for i in range(untrained_seeds)]
    prints: list[str | None] = [each.fingerprint() for each in judged]

    size, workers = encoder.input_size, int(data_config.get("workers", 0))
    home = next(encoder.parameters()).device
    try:
        with evaluating(*judged), _bar(progress, len(train) + len(test)) as tell:
            looks = [seer(each.to(device), encoder.mean, encoder.std, precision) for each in judged]
            if controls:
                names, prints, looks = [*names, "pixels"], [*prints, None], [*looks, raw_pixels]
            banks, queries = (
                extract_each(looks, split, size, batch_size, workers, tell) for split in (train, test)
            )
    finally:
        encoder.to(home)
    for part in (banks[0], queries[0]):
        _check_skipped(part, float(data_config.get("max_unreadable", 0.01)))

    if controls:
        one_channel(banks[-1], queries[-1])

    protocols = unlabelled()
    if has_labels:
        protocols = labelled(k, temperature, shots, draws, seed) | protocols
    rows = []
    for name, fingerprint, bank, query in zip(names, prints, banks, queries, strict=True):
        scores = {key: record(key, protocol, bank, query) for key, protocol in protocols.items()}
        if precision != "float32" and fingerprint is not None:
            for key in unlabelled():
                scores[key]["flags"].append(f"{precision} rounding in the encoder reads as rank")
        rows.append({"name": name, "encoder": fingerprint, "dim": bank.x.shape[1], "scores": scores})
    return {
        "encoder": prints[0],
        "data": str(data_config.get("name", "")),
        "labels": has_labels,
        "classes": int(train.labels.unique().numel()) if train.labels is not None else None,
        "n_train": len(banks[0]),
        "n_test": len(queries[0]),
        "skipped": {"train": _skipped(train, banks[0]), "test": _skipped(test, queries[0])},
        "seed": seed,
        "preprocessing": {
            "image_size": size,
            "resize": "shorter side, bilinear, antialiased; centre crop",
            "mean": list(encoder.mean),
            "std": list(encoder.std),
            "precision": precision,
        },
        "rows": rows,
        "versions": {name: _version(name) for name in ("selfsup", "torch", "timm")},
    }


def _check_settings(least: Mapping[str, int], temperature: float, precision: str) -> None:
    for name, value in least.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    if not temperature > 0:
        raise UsageError(f"temperature must be positive, not {temperature}")
    if precision not in PRECISIONS:
        raise UsageError(f"no precision '{precision}'; choose one of {', '.join(PRECISIONS)}")


def _check_data(train: Source, test: Source) -> None:
    if len(train) < 2 or len(test) < 1:
        raise UsageError(
            f"the data has {len(train)} training and {len(test)} test images; at least 2 and 1 are needed"
        )
    if train.labels is not None and len(train.labels.unique()) < 2:
        raise UsageError(
            "all training images have one class, so there is nothing to tell apart; "
            "add a second class, or leave the labels out (data.labels=false) for the label-free scores"
        )


def _check_skipped(features: Features, share: float) -> None:
    bad, total = len(features.skipped), len(features.skipped) + len(features)
    if len(features) == 0 or bad > max(1, share * total):
        name, reason = features.skipped[0]
        raise UsageError(
            f"{bad} of {total} images cannot be read, the first '{name}': {reason}; "
            f"mend or remove them, or allow more with data.max_unreadable={bad / total:.2g}"
        )


def _skipped(source: Source, features: Features) -> list[list[str]]:
    return [list(pair) for pair in [*source.skipped, *features.skipped]]


@contextmanager
def _bar(show: bool, images: int) -> Iterator[Callable[[int], None]]:
    with Progress(disable=not show, transient=True) as bar:
        task = bar.add_task("features", total=images)
        yield lambda count: bar.advance(task, count)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
