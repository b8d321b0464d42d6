"""Runs all protocols on encoders and controls."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rich.progress import Progress

from selfsup.config import load_config
from selfsup.data import Source
from selfsup.data.readers.values import as_setting
from selfsup.data.settings import colours_of
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.cache import Cache
from selfsup.evaluation.features.extract import Features, evaluating, one_channel
from selfsup.evaluation.passes import Seen, check_needs, see
from selfsup.evaluation.registry import Protocol, records
from selfsup.evaluation.registry import protocols as protocols_of
from selfsup.evaluation.results.comparison import compare, gains
from selfsup.evaluation.rows import Judged, judged_rows, principal_components
from selfsup.evaluation.view_choice import choose_views
from selfsup.precision import require_precision

# The settings of `evaluate` with the same names in a configuration.
SETTINGS = ("protocols", "seed", "controls", "untrained_seeds", "batch_size", "precision")


def evaluate(
    encoder: Encoder | Mapping[str, Encoder],
    train: Source,
    test: Source,
    data_config: Mapping[str, Any],
    *,
    starts: Mapping[str, Encoder] | None = None,
    protocols: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    controls: bool = True,
    untrained_seeds: int = 1,
    batch_size: int = 256,
    precision: str = "float32",
    device: str | torch.device = "cpu",
    progress: bool = False,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Scores of an encoder or of several by name, of their architectures untrained, and of raw pixels.

    Images are preprocessed for each encoder: its own size, resizing, mean and deviation. Each is decoded once
    for all rows with the same preprocessing. Without labels, only label-free scores are computed.

    Args:
        encoder: the encoder, or several by name; its mode and device are restored.
        train: to fit classifiers and select settings.
        test: for accuracies only.
        data_config: ``name``, ``workers``, ``in_memory`` and ``max_unreadable`` are read, each optional.
        starts: by the name of an encoder (``"encoder"`` for one alone), what its training began with.
        protocols: by name, as in ``configs/protocols``; None takes the command's.
        seed: of the first untrained encoder.
        controls: whether to add the controls.
        untrained_seeds: number of untrained encoders.
        batch_size, precision: of the encoder's passes.
        device: that the encoder runs on.
        progress: show a bar.
        cache: of features, read and extended.

    Returns:
        Plain JSON types. ``rows``: one for each encoder with ``name``, ``encoder`` (its fingerprint),
        ``dim`` and ``scores``, records by protocol (:func:`selfsup.evaluation.registry.record`);
        accuracies are from 0 to 1. Beside them the data, preprocessing, seed and versions, the fingerprint
        of a single encoder, of several a ``comparison`` (:func:`selfsup.evaluation.compare`), and the
        ``gains`` over starts, entries like the ``differences`` of a comparison.

    Raises:
        UsageError: no test images, one class, settings out of range, or too many unreadable images.
    """
    if protocols is None:
        protocols = load_config("evaluate", ["encoder=run", f"seed={seed}"])["protocols"]
    encoders = dict(encoder) if isinstance(encoder, Mapping) else {"encoder": encoder}
    chosen = _chosen(protocols, train, test)
    choose_views(chosen, encoders, data_config, colours_of(data_config))
    _check_settings(batch_size, precision)
    _check_data(train, test)
    moved = [*encoders.values(), *(starts or {}).values()]
    homes = [next(each.parameters()).device for each in moved]
    try:
        rows = judged_rows(encoders, starts or {}, controls, untrained_seeds, seed, precision, device)
        with evaluating(*(row.encoder for row in rows if row.encoder is not None)):
            seen = _see(rows, chosen, train, test, data_config, batch_size, progress, cache)
            if controls:
                rows, seen = _with_principal(rows, seen)
            scored = [_row(row, chosen, *both) for row, both in zip(rows, seen, strict=True)]
    finally:
        for each, home in zip(moved, homes, strict=True):
            each.to(home)
    bank, query = (part.features for part in seen[0])
    return {
        "encoder": rows[0].fingerprint if len(encoders) == 1 else None,
        "data": str(data_config.get("name", "")),
        "labels": train.labels is not None and test.labels is not None,
        "classes": int(train.labels.unique().numel()) if train.labels is not None else None,
        "n_train": len(bank),
        "n_test": len(query),
        "skipped": {"train": _skipped(train, bank), "test": _skipped(test, query)},
        "seed": seed,
        "preprocessing": {**scored[0]["preprocessing"], "range": as_setting(train.range)},
        "rows": scored,
        **({"comparison": compare(scored)} if len(encoders) > 1 else {}),
        **({"gains": gains(scored)} if starts and controls else {}),
        "versions": versions(),
    }


def _chosen(configs: Mapping[str, Mapping[str, Any]], train: Source, test: Source) -> list[Protocol]:
    """The protocols that can be run: without labels, only those that need none."""
    chosen = protocols_of(configs)
    check_needs(chosen)
    if train.labels is not None and test.labels is not None:
        return chosen
    kept = [protocol for protocol in chosen if not protocol.labels]
    if not kept:
        raise UsageError(
            f"the images have no labels, which {', '.join(configs)} need; "
            "choose label-free ones, such as protocols=[spectra]"
        )
    return kept


def _see(
    rows: list[Judged],
    chosen: list[Protocol],
    train: Source,
    test: Source,
    data_config: Mapping[str, Any],
    batch_size: int,
    progress: bool,
    cache: Cache | None,
) -> list[tuple[Seen, Seen]]:
    """Each row's features of both splits."""
    passes = len({row.fitting for row in rows})
    with _bar(progress, passes * (len(train) + len(test))) as tell:
        banks, queries = (
            see(rows, chosen, source, split, batch_size, data_config, tell, cache)
            for split, source in (("train", train), ("test", test))
        )
    for part in (banks[0].features, queries[0].features):
        _check_skipped(part, float(data_config.get("max_unreadable", 0.01)))
    return list(zip(banks, queries, strict=True))


def _with_principal(
    rows: list[Judged], seen: list[tuple[Seen, Seen]]
) -> tuple[list[Judged], list[tuple[Seen, Seen]]]:
    """Add a row: the principal components of the pixels, which are the last row."""
    pixels = (seen[-1][0].features, seen[-1][1].features)
    one_channel(*pixels, channels=rows[-1].frozen.mean.numel())
    parts = principal_components(*pixels, width=seen[0][0].features.x.shape[1])
    control = replace(rows[-1], name="pixels, PCA", role="pca")
    return [*rows, control], [*seen, (Seen(parts[0], {}), Seen(parts[1], {}))]


def _row(row: Judged, chosen: list[Protocol], train: Seen, test: Seen) -> dict[str, Any]:
    """One line of the results."""
    scores: dict[str, dict[str, Any]] = {}
    precision = row.frozen.precision
    for protocol in chosen:
        new = records(protocol, train.of(protocol), test.of(protocol))
        if precision != "float32" and row.fingerprint is not None and not protocol.labels:
            for score in new.values():
                score["flags"].append(f"{precision} rounding in the encoder raises the rank")
        scores |= new
    return {
        "name": row.name,
        "role": row.role,
        "untrained": row.untrained,
        "start": row.start,
        "encoder": row.fingerprint,
        "from_labels": row.from_labels(),
        "dim": train.features.x.shape[1],
        "preprocessing": {**row.preprocessing(), "precision": precision},
        "scores": scores,
    }


def _check_settings(batch_size: int, precision: str) -> None:
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    require_precision("precision", precision)


def _check_data(train: Source, test: Source) -> None:
    if len(train) < 2 or len(test) < 1:
        raise UsageError(
            f"the data has {len(train)} training and {len(test)} test images; at least 2 and 1 are needed"
        )
    if train.labels is not None and len(train.labels.unique()) < 2:
        raise UsageError(
            "all training images have one class, so there is nothing to classify; "
            "add a second class, or leave the labels out (data.labels=false) for the label-free scores"
        )


def _check_skipped(features: Features, share: float) -> None:
    bad, total = len(features.skipped), len(features.skipped) + len(features)
    if len(features) == 0 or bad > max(1, share * total):
        name, reason = features.skipped[0]
        raise UsageError(
            f"{bad} of {total} images cannot be read, the first '{name}': {reason}; "
            f"repair or remove them, or allow more with data.max_unreadable={bad / total:.2g}"
        )


def _skipped(source: Source, features: Features) -> list[list[str]]:
    return [list(pair) for pair in [*source.skipped, *features.skipped]]


@contextmanager
def _bar(show: bool, images: int) -> Iterator[Callable[[int], None]]:
    with Progress(disable=not show, transient=True) as bar:
        task = bar.add_task("features", total=images)
        yield lambda count: bar.advance(task, count)


def versions() -> dict[str, str | None]:
    """Of the packages that results depend on; None for one that is not installed as such."""
    return {name: _version(name) for name in ("selfsup", "torch", "timm")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
