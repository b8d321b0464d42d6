"""Results: a line of JSON a row in ``results/NAME.jsonl``, with the command, device and versions."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from selfsup.config import options, summary
from selfsup.from_labels import learns_from_labels

RESULTS = Path(__file__).parent / "results"
ROOT = RESULTS.parents[1]
PACKAGES = ("torch", "timm", "pytorch-lightning", "lightly")
# name -> title, which says of a method that learns from labels that it does
METHODS = {
    name: summary("method", name).partition(":")[0]
    + (" (labels)" if learns_from_labels("method", name) else "")
    for name in options("method")
}

Row = dict[str, Any]


def read(name: str, folder: Path = RESULTS) -> list[Row]:
    """The rows of ``NAME.jsonl`` in the folder; none if there is no such file."""
    path = folder / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def keep(name: str, rows: Iterable[Mapping[str, Any]], *keys: str, folder: Path = RESULTS) -> None:
    """Add rows to ``NAME.jsonl`` in the folder; each takes the place of one with the same ``keys``."""
    made = {"command": command(), **origin()}
    kept: dict[str, Row] = {}
    for row in [*read(name, folder), *({**made, **row} for row in rows)]:
        kept[json.dumps([row.get(key) for key in keys])] = row
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row) + "\n" for row in kept.values())
    (folder / f"{name}.jsonl").write_text("".join(lines))


def of_this_device(name: str) -> str:
    """The file of a benchmark that is kept once for CPUs and once for GPUs."""
    return f"{name}-gpu" if torch.cuda.is_available() else name


def command() -> str:
    """The command line: ``python -m benchmarks.FOLDER.NAME ARGUMENTS``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    return " ".join(["python", "-m", name, *sys.argv[1:]])


def origin() -> Row:
    """The machine, the packages' versions and the checkout's commit, None for a copy without its history."""
    cores = len(os.sched_getaffinity(0))
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        revision = done.stdout.strip() or None
    except FileNotFoundError:  # a machine without git
        revision = None
    return {
        "device": {
            "processor": processor(),
            "cores": cores,
            "threads": int(os.environ.get("OMP_NUM_THREADS", cores)),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {name: version(name) for name in PACKAGES},
        "revision": revision,
    }


def processor() -> str:
    """The processor's name, and whether it has the bfloat16 instructions that decide most timings."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return ", ".join([name, *flags])


def machine(row: Mapping[str, Any]) -> str:
    """The processor and cores of a row, as in the tables."""
    device = row["device"]
    return f"{device['processor']}, {device['cores']} core{'s' if device['cores'] > 1 else ''}"
