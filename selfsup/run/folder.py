"""A run's folder: made once, never overwritten, and gone on with."""

import json
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from selfsup.config import load_config
from selfsup.errors import UsageError

_MAY_CHANGE = ("trainer.", "logger.", "evaluate", "traceback")
_NOTHING = object()


def new_folder(config: dict[str, Any]) -> Path:
    """Make the run's folder, never one that exists, and point ``latest`` at it."""
    out = Path(config["out"])
    name = config["name"] or "-".join(
        [
            config["method"]["name"],
            config["data"]["name"],
            config["backbone"]["name"],
            f"{datetime.now():%Y%m%d-%H%M%S}",
        ]
    )
    for attempt in range(1000):
        folder = out / (name if attempt == 0 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError as error:
            if config["name"]:
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
        latest.symlink_to(folder.name)
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
    defaults = flat(load_config("train", [f"resume={folder}"]))
    given = {key: value for key, value in flat(config).items() if defaults.get(key, _NOTHING) != value}
    for key, value in given.items():
        if not key.startswith(_MAY_CHANGE):
            raise UsageError(f"{key} cannot change when a run is resumed; start a new run for that")
        *groups, last = key.split(".")
        reduce(dict.__getitem__, groups, before)[last] = value
    return {**before, "resume": str(folder.resolve())}


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")
