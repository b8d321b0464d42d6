"""``selfsup train``: learn an encoder, save it, judge it."""

import json
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from selfsup.config import load_config, require_paths, require_positive
from selfsup.errors import UsageError

_MAY_CHANGE = ("trainer.", "logger.", "evaluate", "traceback")
_NOTHING = object()


def run(config: dict[str, Any]) -> None:
    """Train as the resolved configuration says.

    Raises:
        UsageError: before anything is written, where the configuration cannot work.
    """
    if config["resume"]:
        config = resumed(config)
    check(config)
    from selfsup.training import train

    train(config)


def check(config: dict[str, Any]) -> None:
    """Refuse what can be seen to be wrong without importing torch."""
    method, trainer = config["method"], config["trainer"]
    require_paths(config["data"])
    require_positive(config, "batch_size", "method.optimizer.lr", "trainer.accumulate_grad_batches")
    require_positive(config, "data.image_size", "method.optimizer.lr_batch", "trainer.log_every_n_steps")
    if trainer["max_steps"] < 1 and trainer["max_epochs"] < 1:
        raise UsageError("the run has no length; set trainer.max_epochs or trainer.max_steps above 0")
    if method["optimizer"]["name"] not in ("adamw", "lars", "sgd"):
        raise UsageError(f"no optimizer '{method['optimizer']['name']}'; choose adamw, lars or sgd")
    if "tokens" in method["requires"] and config["backbone"]["tokens"] is False:
        raise UsageError(
            f"method={method['name']} needs patch tokens, which {config['backbone']['name']} has not; "
            "take backbone=vit_mini, vit_tiny, vit_small or vit_base"
        )
    if "whole_batch" in method["requires"] and trainer["accumulate_grad_batches"] > 1:
        raise UsageError(
            f"the loss of method={method['name']} compares all images of a batch, so accumulating batches "
            "would change it; raise batch_size instead of trainer.accumulate_grad_batches"
        )
    if config["resume"] is None and config["name"] is not None:
        folder = Path(config["out"]) / str(config["name"])
        if folder.exists():
            raise UsageError(f"'{folder}' exists; choose another name, or go on with it by resume={folder}")


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
            raise UsageError(f"cannot make the run's folder '{folder}' ({error.strerror}); set out=") from error
    latest = out / "latest"
    if latest.is_symlink() or not latest.exists():
        latest.unlink(missing_ok=True)
        latest.symlink_to(folder.name)
    return folder


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
