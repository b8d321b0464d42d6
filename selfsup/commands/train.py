"""``selfsup train``: learn an encoder, save it, judge it."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from selfsup.config import require_positive
from selfsup.errors import UsageError

_MAY_CHANGE = ("trainer.", "logger", "resume", "evaluate", "traceback", "out")


def run(config: dict[str, Any]) -> None:
    """Train as the resolved configuration says.

    Raises:
        UsageError: before anything is written, where the configuration cannot work.
    """
    if config["resume"]:
        config = resumed(config)
    check(config)
    _quiet()
    from selfsup.training import train

    train(config)


def check(config: dict[str, Any]) -> None:
    """Refuse what can be seen to be wrong without importing torch."""
    method, trainer = config["method"], config["trainer"]
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
    """The configuration a run was started with, with this command's ``trainer`` length and logger.

    Raises:
        UsageError: there is no such run, or none of its checkpoints.
    """
    import yaml

    folder = Path(config["resume"])
    if not (folder / "config.yaml").is_file():
        raise UsageError(f"resume: '{folder}' is no run's folder (it has no config.yaml)")
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        raise UsageError(f"resume: '{folder}' has no checkpoint yet; start a new run")
    before = yaml.safe_load((folder / "config.yaml").read_text())
    given = [argument.partition("=")[0] for argument in sys.argv[1:] if "=" in argument]
    for key in given:
        if not key.startswith(_MAY_CHANGE):
            raise UsageError(f"{key} cannot change when a run is resumed; start a new run for that")
        if key.startswith("trainer."):
            before["trainer"][key.partition(".")[2]] = config["trainer"][key.partition(".")[2]]
    return {**before, "resume": str(folder.resolve()), "evaluate": config["evaluate"]}


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


def _quiet() -> None:
    """Keep Lightning's remarks about its own settings off the terminal."""
    import logging
    import warnings

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|lightning")
