"""A run's environment: written into its folder, and compared when it is resumed or repeated."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from selfsup.data import Source
from selfsup.data.fingerprint import fingerprint
from selfsup.errors import UsageError
from selfsup.files import read_json
from selfsup.text import as_text

PACKAGES = ("selfsup", "torch", "torchvision", "pytorch-lightning", "timm", "lightly", "numpy", "pillow")
FILE = "environment.json"
_LARGEST = 16 * 2**20  # bytes


def environment(source: Source, on_gpu: bool, processes: int) -> dict[str, Any]:
    """This start of a run: command, revision, versions, device, data."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": as_text(shlex.join(sys.argv)),
        **revision(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "device": {
            "name": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
            "cuda": torch.version.cuda if on_gpu else None,
            "processes": processes,
            "threads": torch.get_num_threads(),
            "system": platform.system(),
        },
        "data": {"images": len(source), "fingerprint": fingerprint(source)}
        | ({} if source.relation is None else {"relation": source.relation.fingerprint()}),
    }


def revision() -> dict[str, Any]:
    """The commit of this package's checkout, and whether it has changes; None without a checkout."""
    here = Path(__file__)
    try:
        _git("ls-files", "--error-unmatch", here.name)  # else it is another package's checkout
        return {"revision": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"revision": None, "dirty": None}


def _git(*arguments: str) -> str:
    # git uses these before it searches the folders above.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def starts(folder: Path) -> list[dict[str, Any]]:
    """The starts of a run, the first one first; empty if none is recorded."""
    path = folder / FILE
    if not os.path.lexists(path):
        return []
    try:
        found = list(read_json(path, _LARGEST)["starts"])
        for start in found:
            for part in (start, *(start.get(name, {}) for name in ("versions", "device", "data"))):
                if not isinstance(part, dict):
                    raise TypeError("it was not written by a run")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"'{path}' is damaged ({error}); remove it to continue without it") from error
    return found


def recorded(earlier: Iterable[Mapping[str, Any]], now: Mapping[str, Any]) -> str:
    """The text of ``environment.json`` with this start after the earlier ones."""
    return json.dumps({"starts": [*earlier, now]}, indent=2) + "\n"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``what old -> new`` of revision, versions and device."""
    pairs = [("revision", before.get("revision"), now["revision"])]
    for part in ("versions", "device"):
        was = before.get(part, {})
        pairs += [(key, was.get(key), value) for key, value in now[part].items()]
    return [f"{key} {old} -> {new}" for key, old, new in pairs if old != new]


def require_same_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UsageError if a run would continue with other images than it began with, or others together."""
    was, is_ = before.get("data"), now["data"]
    if was is not None and was.get("relation") != is_.get("relation"):
        raise UsageError(
            "other images belong together than at the run's start; put data.pairs, positives or the labels "
            "back, or start a new run"
        )
    if was is not None and was != is_:
        raise UsageError(
            f"the data is not that of the run's start ({was.get('images')} images then, {is_['images']} "
            "now, or others); put it back, with online.held_out and seed, or start a new run"
        )
