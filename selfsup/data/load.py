"""From a data configuration to its sources, checked before anything starts."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch

from selfsup.data.decode import UnreadableImage
from selfsup.data.select import choose
from selfsup.data.source import Source, in_memory
from selfsup.errors import UsageError
from selfsup.slices import path_and_slice
from selfsup.targets import load_target

PROBES = 200
SHRINK = 8  # how much smaller images that are only tried may come out: a huge one then takes little memory


def load_data(config: Mapping[str, Any]) -> tuple[Source, Source]:
    """The (train, test) sources of a data configuration (`configs/data/*.yaml`, resolved).

    `config["source"]` names a function in `_target_`; its other keys are the arguments. Of the splits that it
    returns, those are taken that `config` chooses (`selfsup.data.select.choose`), and decoded into memory if
    all are small and of one size, unless `config["in_memory"]` is False. Up to 200 evenly spaced images of a
    source that decodes on demand are tried.

    Raises:
        UsageError: if the source refuses its arguments, if more than one image and more than the share
            `config["max_unreadable"]` cannot be read, if fewer than two can, or if all have one label.
    """
    train, test = chosen(config)
    if config.get("in_memory", True):
        train, test = in_memory(train), in_memory(test)
    _check_readable(train, "training", config["max_unreadable"])
    _check_readable(test, "test", config["max_unreadable"])
    if len(train) < 2:
        raise UsageError(f"only {len(train)} image is left to learn from, {len(test)} to test; add more")
    if train.labels is not None and len(torch.unique(train.labels)) < 2:
        raise UsageError(
            "all training images have the same label; add images of a second class, "
            "or pass data.labels=false to learn without labels"
        )
    return train, test


def chosen(config: Mapping[str, Any]) -> tuple[Source, Source]:
    """`load_data` without decoding or checking any image."""
    arguments = {key: value for key, value in config["source"].items() if key != "_target_"}
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
        return choose(found, config)
    # A source that takes files as its train and test has used these settings up, but for the slices.
    taken = {split: split + slices.get(split, "") for split in ("train", "test") if split in arguments}
    return choose(dict(zip(("train", "test"), found, strict=True)), {**config, **taken})


def _check_readable(source: Source, split: str, share: float) -> None:
    """Refuse a source of which more than `share`, and more than one image, cannot be read."""
    bad = list(source.skipped)
    tried = len(source) + len(bad)
    if source.images is None:
        probes = torch.linspace(0, len(source) - 1, min(PROBES, len(source))).round().long().tolist()
        tried = len(probes)
        for i in probes:
            try:
                source.picture(i).pixels(SHRINK)
            except UnreadableImage as error:
                bad.append((error.name, error.reason))
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
            f"mend or remove them, or allow more with data.max_unreadable={enough}"
        )
