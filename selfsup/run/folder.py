"""A run's folder: made once, and never overwritten."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError


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
    _point(out / "latest", folder)
    return folder


def _point(latest: Path, folder: Path) -> None:
    """Make ``latest`` a link to the folder, in one step: another run may be doing the same."""
    if latest.exists() and not latest.is_symlink():
        return
    link = latest.with_name(f".{latest.name}.{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(folder, latest.parent))
    os.replace(link, latest)
