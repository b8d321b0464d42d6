"""Resuming and repeating runs: allowed changes."""

from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint, step_of
from selfsup.config import defaults, options
from selfsup.errors import UsageError
from selfsup.runs import KEPT, leaves, read_config

_MAY_CHANGE = (
    "compile",
    "backbone.checkpointing",
    "logger",
    "online",
    "evaluate",
    "evaluate_precision",
    "report",
    "guard",
    "traceback",
    "resume",
    "data.workers",
    "data.root",  # the same images may be elsewhere now, and their names are compared
)
# These settings of the trainer decide which images make up a step.
_MAY_NOT_CHANGE = ("trainer.accumulate_grad_batches", "trainer.sync_batchnorm")
_ALONE = ("trainer", "logger")  # groups on which no other depends


def resumed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with which a run was started, with this command's trainer and logger.

    The command that started the run may be repeated with ``resume=`` added.

    Raises:
        UsageError: there is no such run, or a setting that cannot change.
    """
    folder = Path(config["resume"])
    before = read_config(folder, "resume")
    given = []
    for override in config["overrides"]:
        key = override.partition("=")[0]
        old, new = _at(before, key), _at(config, key)
        if key not in _MAY_NOT_CHANGE and {key, key.partition(".")[0]} & {*_MAY_CHANGE, "trainer"}:
            given.append(override)
        elif override not in before["overrides"] and (old is None or old != new):
            told = "" if old is None and new is None else f" ({_called(old)} -> {_called(new)})"
            raise UsageError(f"{key} cannot change when a run is resumed{told}; start a new run for that")
    fresh = {"resume": str(folder.resolve()), "from": None}
    return in_one_measure({**_with(before, {**config, "overrides": given}), **fresh}, given)


def repeated(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the run in the folder ``from=``, with this command's changes.

    This command sets where it is written and which logger it has.

    Raises:
        UsageError: there is no such run, or a whole group is given, which would mix two configurations.
    """
    folder = Path(config["from"])
    before = read_config(folder, "from")
    for key in _keys(config["overrides"]):
        if key in KEPT:
            raise UsageError(f"that run keeps the encoder of {key}; start a new run for another")
        if isinstance(config.get(key), dict) and key not in _ALONE:
            raise UsageError(f"from= repeats the {key} of that run; set single values as {key}.name=value")
    if before.get("anneal"):
        raise UsageError(f"from: '{folder}' is a branch; repeat it with anneal={before['anneal']}")
    fresh = {key: config[key] for key in ("name", "out", "logger", "resume")}
    whole = {**_with(before, config), **fresh, "from": str(folder.resolve())}
    return in_one_measure(whole, config["overrides"])


def in_one_measure(config: dict[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The configuration with its length in epochs if the command sets epochs and no steps.

    Steps, if set, are the length of a run: those of an earlier command would contradict the epochs.
    """
    keys = {override.partition("=")[0] for override in given}
    if "trainer.max_epochs" in keys and "trainer.max_steps" not in keys:
        return {**config, "trainer": {**config["trainer"], "max_steps": -1}}
    return config


def _keys(overrides: Iterable[str]) -> list[str]:
    return [override.partition("=")[0] for override in overrides]


def _at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None if there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _called(value: Any) -> Any:
    """A group of settings by its name, a value as it is."""
    return value.get("name", "other settings") if isinstance(value, Mapping) else value


def _with(before: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The settings ``before``, with the command's overrides and settings added since."""
    own = {key: value for key, value in before.items() if key in config}
    merged = {**config, **own, "traceback": config["traceback"]}
    about = ("resume", "from", "anneal", "traceback")
    given = [override for override in config["overrides"] if override.partition("=")[0] not in about]
    merged["overrides"] = [*before["overrides"], *given]
    merged["trainer"] = {**config["trainer"], **before["trainer"]}
    merged["logger"] = _logger(before, config)
    for key in _keys(config["overrides"]):
        *groups, last = key.split(".")
        try:
            value = reduce(dict.__getitem__, groups, config)[last]
            inside = reduce(dict.__getitem__, groups, merged)
            source = inside.get("source") if groups == ["data"] else None
            if isinstance(source, dict) and last in source and source[last] == inside.get(last):
                source[last] = value  # the data's configuration refers to it
            inside[last] = value
        except (KeyError, TypeError) as error:
            raise UsageError(f"that run has no setting '{key}'") from error
    return merged


def _logger(before: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The logger of the run, with settings added since; private settings stay private."""
    found = before.get("logger") or config["logger"]
    name = found.get("name")
    if name not in options("logger"):
        raise UsageError(f"that run's logger '{name}' does not exist; choose one with logger=")
    settings = {**defaults("train", [f"logger={name}"])["logger"], **found}
    return {**settings, "private": True} if "private" in settings else settings


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``key old -> new`` of every setting that differs, except those of the command itself."""
    was, is_ = leaves(before), leaves(now)
    about = ("overrides", "resume", "from", "anneal", "traceback", "name", "out")
    return [
        f"{key} {was.get(key)} -> {value}"
        for key, value in is_.items()
        if was.get(key) != value and key not in about
    ]


class Position(NamedTuple):
    """Where a run resumes: the checkpoint to load, and values that the settings must match."""

    checkpoint: Path | None
    step: int  # optimizer steps made
    batches: int  # seen by each process since the run began
    total_steps: int  # the run's length at that time
    notes: list[str]


def find_position(folder: Path, processes: int, model: Mapping[str, Any]) -> Position:
    """The newest intact checkpoint of a run; step 0 if it has none yet.

    Args:
        processes: their number now.
        model: its parameters and buffers by name.

    Raises:
        UsageError: all checkpoints are damaged, another number of processes wrote them, or the newest is of
            another model.
    """
    checkpoint, damaged = newest_intact(folder)
    notes = [f"{path} is damaged ({reason}) and is skipped" for path, reason in damaged]
    if checkpoint is None:
        if damaged:
            raise UsageError(
                f"all {len(damaged)} checkpoints of '{folder}' are damaged, the newest: {damaged[0][1]}; "
                "remove them to begin this run again at step 0"
            )
        return Position(None, 0, 0, 0, [f"{folder} has no checkpoint yet and begins at step 0"])
    content = read_checkpoint(checkpoint)
    try:
        facts = content["callbacks"]["Checkpoints"]
        progress = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        wrote, total, batches = int(facts["processes"]), int(facts["total_steps"]), int(progress["processed"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"'{checkpoint}' is not a checkpoint of a training run (no {error})") from error
    if wrote != processes:
        raise UsageError(
            f"this run was trained by {wrote} processes and {processes} would continue, with other batches; "
            f"set trainer.devices and trainer.num_nodes so that they are {wrote}"
        )
    _require_same_model(checkpoint, content["state_dict"], model)
    notes.append(f"continuing from {checkpoint}")
    return Position(checkpoint, step_of(checkpoint), batches, total, notes)


def _require_same_model(checkpoint: Path, found: Any, model: Mapping[str, Any]) -> None:
    shapes, ours = (
        {key: tuple(getattr(value, "shape", ())) for key, value in tensors.items()}
        for tensors in (found if isinstance(found, Mapping) else {}, model)
    )
    wrong = [key for key in {**ours, **shapes} if ours.get(key) != shapes.get(key)]
    if wrong:
        raise UsageError(
            f"'{checkpoint}' is not of the model in config.yaml beside it: {len(wrong)} tensors "
            f"differ, '{wrong[0]}' among them; put back the configuration that the run was started with"
        )
