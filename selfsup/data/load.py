"""From a data configuration to its sources, checked before anything starts."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from selfsup.data.channels import paged, ranged, read_as
from selfsup.data.class_order import balance
from selfsup.data.labels import labelled
from selfsup.data.readers.reading import Reading, reading_of
from selfsup.data.readers.values import range_of
from selfsup.data.select import choose
from selfsup.data.settings import labels_file
from selfsup.data.slices import path_and_slice
from selfsup.data.source import Source, in_memory
from selfsup.data.statistics import settled
from selfsup.data.tried import SHRINK, Tried, describe, settle, try_images
from selfsup.errors import UsageError
from selfsup.targets import load_target

FEW = 16  # images that show whether a range fits


def load_data(
    config: Mapping[str, Any], *, as_before: bool = False, measure: bool = False
) -> tuple[Source, Source]:
    """The (train, test) sources of a data configuration (`configs/data/*.yaml`, resolved).

    `config["source"]` names a function in `_target_`; its other keys are the arguments. `config` chooses
    among the splits that it returns (`selfsup.data.select.choose`); they are decoded into memory if all
    images are small and of one size, unless `config["in_memory"]` is False. Up to 200 evenly spaced images of
    each are tried, and what is found is written into the sources' decisions. Their channels are those that
    `config["channels"]`, `config["bands"]`, `config["pages"]` and `config["decode"]` ask for
    (`readers.reading.Reading`); their `range` is `config["range"]`, or what was measured for "auto".

    If `config["labels"]` names a file, they have no labels: those of the file are for judging alone
    (`selfsup.data.labels.labelled`), and are only checked here.

    Args:
        as_before: whether the images belong to a run that has begun, which continues to read them as before,
            even if their values use a small part of their type's range.
        measure: whether the training source gets its `statistics`, from the configuration or measured
            (`selfsup.data.statistics.settled`).

    Raises:
        UsageError: if the source refuses its arguments, if more than one image and more than the share
            `config["max_unreadable"]` cannot be read, if fewer than two can, if all have one label, or if
            their values ask for another `config["range"]` (`selfsup.data.tried.settle`).
    """
    setting = range_of(config.get("range"), channels=config.get("channels", 3))
    train, test = read(config)
    tried = [try_images(source, 1 if setting == "auto" else SHRINK) for source in (train, test)]
    range_ = settle(setting, tried, as_before)
    describe(tried, range_, setting == "auto")
    train, test = ranged(train, range_), ranged(test, range_)
    if measure and len(tried[0].bad) < tried[0].count:
        train.statistics = settled(config, train)
    if config.get("in_memory", True):
        train, test = in_memory(train), in_memory(test)
    _check_readable(train, tried[0], "training", config["max_unreadable"])
    _check_readable(test, tried[1], "test", config["max_unreadable"])
    if len(train) < 2:
        raise UsageError(f"only {len(train)} image is left to learn from, {len(test)} to test; add more")
    if labels_file(config) is not None:
        labelled(config, train, test)
    if train.labels is not None and len(torch.unique(train.labels)) < 2:
        raise UsageError(
            "all training images have the same label; add images of a second class, "
            "or pass data.labels=false to learn without labels"
        )
    if config.get("balanced"):
        balance(train)
    return train, test


def chosen_ranged(config: Mapping[str, Any], range: Any) -> tuple[Source, Source]:
    """`load_data` without decoding or checking any image, but for a few where there is a range.

    That is the configuration's, or, where it has none, ``range``.

    Raises:
        UsageError: as `load_data`.
    """
    setting = range_of(config.get("range"), channels=config.get("channels", 3))
    setting = range if setting is None else setting
    train, test = read(config)
    if setting is None:
        return train, test
    auto = setting == "auto"
    tried = [try_images(train, 1) if auto else try_images(train, SHRINK, FEW)]
    range_ = settle(setting, tried)
    return ranged(train, range_), ranged(test, range_)


def reading_for(config: Mapping[str, Any]) -> Reading:
    """The reading that a data configuration asks for, with the function that it names, if the user typed it.

    Raises:
        UsageError: as `reading_of` and `load_target`.
    """
    name = config.get("decode")
    return reading_of(config, None if name is None else load_target(name, "data", "data.decode"))


def read(config: Mapping[str, Any]) -> tuple[Source, Source]:
    """`chosen`, with the channels and pages that the configuration asks for."""
    reading = reading_for(config)
    train, test = (paged(read_as(source, reading)) for source in chosen(config))
    return train, test


def chosen(config: Mapping[str, Any]) -> tuple[Source, Source]:
    """The sources without decoding or checking any image, without a range, and of three channels."""
    arguments = {key: value for key, value in config["source"].items() if key != "_target_"}
    if labels_file(config) is not None:
        arguments["labels"] = False  # those of the file are for judging alone
    function = load_target(config["source"]["_target_"], "data", "data.source._target_")
    # Files can be sliced as splits can: data.train=FILE[:90%].
    slices = {}
    for split in ("train", "test"):
        if isinstance(arguments.get(split), str):
            arguments[split], slices[split] = path_and_slice(arguments[split])
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise UsageError(f"data.source does not fit {config['source']['_target_']}: {error}") from error
    found = function(**arguments)
    if isinstance(found, Mapping):
        return _settled(*choose(found, config))
    # A source that takes files as its train and test has used these settings, except for the slices.
    taken = {split: split + slices.get(split, "") for split in ("train", "test") if split in arguments}
    return _settled(*choose(dict(zip(("train", "test"), found, strict=True)), {**config, **taken}))


def _settled(train: Source, test: Source) -> tuple[Source, Source]:
    """Both with the same decisions, and those common to all sources."""
    decided = train.decisions = replace(train.decisions)
    counts = f"{len(train)} images to learn from, {len(test)} to test on"
    decided.splits = f"{decided.splits}; {counts}" if decided.splits else counts
    names = train.classes or []
    if train.labels is None:
        decided.labels = decided.labels or "no labels"
    else:
        decided.labels = decided.labels or f"labels come with the images: {len(names)} classes"
        decided.classes = _counts(train)
        for name, count in _counts(test).items():
            decided.classes[name] = decided.classes.get(name, 0) + count
    test.decisions = decided
    return train, test


def _counts(source: Source) -> dict[str, int]:
    if source.labels is None:
        return {}
    counts = source.labels.bincount().tolist()
    names = source.classes or [str(number) for number in range(len(counts))]
    return {name: count for name, count in zip(names, counts, strict=False) if count}


def _check_readable(source: Source, tries: Tried, split: str, share: float) -> None:
    """Refuse a source if more than `share` of its images, and more than one, cannot be read."""
    bad = list(source.skipped)
    tried = len(source) + len(bad)
    if source.images is None:
        tried = tries.count
        bad += tries.bad + (tries.without_range if source.range is None else [])
    if not bad:
        return
    name, reason = bad[0]
    if len(bad) == tried:
        raise UsageError(f"none of the {split} images can be read; the first, {name!r}: {reason}")
    if tried - len(bad) < 2 and split == "training":
        raise UsageError(
            f"only one of {tried} {split} images can be read, and at least two are needed; {name!r}: {reason}"
        )
    if len(bad) > max(1, share * tried):
        enough = math.ceil(100 * len(bad) / tried) / 100
        raise UsageError(
            f"{len(bad)} of {tried} {split} images tried cannot be read, the first {name!r}: {reason}; "
            f"repair or remove them, or allow more with data.max_unreadable={enough}"
        )
