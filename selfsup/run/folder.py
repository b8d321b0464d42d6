"""A run's folder: made in one step with its configuration, and never overwritten."""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from selfsup.backbone_names import backbone_name
from selfsup.data.decisions import DECIDED
from selfsup.errors import UsageError
from selfsup.files import remove_parts, write_text
from selfsup.runs import KEPT

CONFIG = "config.yaml"
# Files of a start before anything is learned.
_OF_A_START = {CONFIG, DECIDED, *KEPT.values(), "environment.json", "tensorboard", "wandb"}


def new_folder(
    config: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
    more: Callable[[Path], object] | None = None,
) -> Path:
    """Make the run's folder; a folder that is not empty is refused.

    It is made under a hidden name and then renamed, so that a run that is killed leaves no folder or one that
    can be resumed. An existing empty folder is used.

    Args:
        texts: files to put into it beside ``config.yaml``, by name.
        more: writes further files, such as an encoder; it gets the folder under its hidden name.

    Raises:
        UsageError: the name is in use, or the folder cannot be made.
    """
    out = Path(str(config["out"]))
    # A data set of a hub has a slash in its name.
    names = (*(str(config[part]["name"]) for part in ("method", "data")), backbone_name(config["backbone"]))
    parts = [name.strip("/").replace("/", "-") for name in names]
    automatic = "-".join([*parts, f"{datetime.now():%Y%m%d-%H%M%S}"])
    folder = out / (automatic if config["name"] is None else str(config["name"]))
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        content = {CONFIG: yaml.safe_dump(dict(config), sort_keys=False), **(texts or {})}
        for name, text in content.items():
            write_text(part / name, text)
        if more is not None:
            more(part)
        for attempt in range(1000):
            target = folder if attempt == 0 else folder.with_name(f"{folder.name}-{attempt}")
            if _renamed(part, target):
                return target
            if config["name"] is not None:
                break
    except OSError as error:
        raise UsageError(f"cannot make the run's folder '{folder}' ({error.strerror}); set out=") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    raise UsageError(taken(folder) or f"'{folder}' exists; choose another name")


def _renamed(part: Path, folder: Path) -> bool:
    """Give ``part`` its name, in one step, unless the name is in use."""
    if taken(folder):
        return False
    try:
        if folder.exists():
            remove_parts(folder)
            folder.rmdir()
        os.rename(part, folder)  # it holds files, so that one of two runs does not replace the other's
    except OSError:
        if not os.path.lexists(folder):
            raise
        return False
    return True


def taken(folder: Path) -> str | None:
    """Why a new run cannot use this folder; None if it can: it does not exist or holds no complete file."""
    if not os.path.lexists(folder):
        return None
    if (folder / CONFIG).is_file():
        return f"'{folder}' exists; choose another name, or continue with resume={folder}"
    halves = folder.is_dir() and not folder.is_symlink()
    if halves and all(path.match(".*.part") for path in folder.iterdir()):
        return None
    return f"'{folder}' exists and is not a run's folder (it has no {CONFIG}); choose another name"


def remove_unused(folder: Path) -> None:
    """Remove the folder of a start that failed before anything was learned: its name is free again."""
    if {path.name for path in folder.glob("*")} <= _OF_A_START:
        shutil.rmtree(folder, ignore_errors=True)


def point_latest(folder: Path, out: Path) -> str | None:
    """Make ``latest`` a link to the folder, in one step: another run may be doing the same.

    It is in ``out`` if that is above the folder, as for a new run, else beside the folder.

    Returns:
        Why it cannot be made, on a file system without links, for instance; the run goes on.
    """
    top = out if out.absolute() in folder.absolute().parents else folder.parent
    latest = top / "latest"
    if latest.exists() and not latest.is_symlink():
        return None
    link = top / f".latest.{secrets.token_hex(4)}"
    try:
        link.symlink_to(os.path.relpath(folder, top))
        os.replace(link, latest)
    except OSError as error:
        link.unlink(missing_ok=True)
        return f"'{latest}' does not lead to this run: no link can be made there ({error.strerror})"
    return None
