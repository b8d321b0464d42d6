"""A run's folder: made once, never overwritten, and gone on with."""

import os
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from selfsup.errors import UsageError

_MAY_CHANGE = ("trainer", "logger", "evaluate", "evaluate_precision", "guard", "traceback", "resume")


def process_rank() -> int:
    """This process's number, whichever launcher started it (torchrun, SLURM, Lightning); 0 if none did."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def new_folder(config: dict[str, Any]) -> Path:
    """Make the run's folder, never one that exists, and point ``latest`` at it."""
    out = Path(str(config["out"]))
    # A data set of a hub has a slash in its name.
    names = (str(config[part]["name"]) for part in ("method", "data", "backbone"))
    parts = [name.strip("/").replace("/", "-") for name in names]
    automatic = "-".join([*parts, f"{datetime.now():%Y%m%d-%H%M%S}"])
    name = automatic if config["name"] is None else str(config["name"])
    for attempt in range(1000):
        folder = out / (name if attempt == 0 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError as error:
            if config["name"] is not None:
                raise UsageError(
                    f"'{folder}' exists; choose another name, or go on with it by resume={folder}"
                ) from error
        except OSError as error:
            raise UsageError(
                f"cannot make the run's folder '{folder}' ({error.strerror}); set out="
            ) from error
    latest = out / "latest"
    if latest.is_symlink() or not latest.exists():
        latest.unlink(missing_ok=True)
        latest.symlink_to(os.path.relpath(folder, out))
    return folder


def resumed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration a run was started with, with what this command says of the trainer and the logger.

    Raises:
        UsageError: there is no such run, none of its checkpoints, or a setting that cannot change.
    """
    folder = Path(config["resume"])
    if not (folder / "config.yaml").is_file():
        raise UsageError(f"resume: '{folder}' is no run's folder (it has no config.yaml)")
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        raise UsageError(f"resume: '{folder}' has no checkpoint yet; start a new run")
    before: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    for override in config["overrides"]:
        key = override.partition("=")[0]
        if key.partition(".")[0] not in _MAY_CHANGE:
            raise UsageError(f"{key} cannot change when a run is resumed; start a new run for that")
        *groups, last = key.split(".")
        reduce(dict.__getitem__, groups, before)[last] = reduce(dict.__getitem__, groups, config)[last]
    return {**before, "resume": str(folder.resolve())}
