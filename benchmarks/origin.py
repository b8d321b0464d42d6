"""Where a result comes from: device, versions, revision."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "timm", "pytorch-lightning", "lightly")


def origin() -> dict[str, Any]:
    """The machine, the packages' versions and the checkout's commit, for a result's JSON."""
    cores = len(os.sched_getaffinity(0))
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return {
        "device": {
            "processor": processor(),
            "cores": cores,
            "threads": int(os.environ.get("OMP_NUM_THREADS", cores)),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {name: version(name) for name in PACKAGES},
        "revision": done.stdout.strip(),
    }


def keep(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Write results by name into a JSON file, each with its command and origin; others in it stay."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    made = {"command": command, **origin()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**kept, **{k: {**made, **v} for k, v in results.items()}}, indent=2) + "\n")


def processor() -> str:
    """The processor's name, and whether it has the bfloat16 instructions that decide most timings."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return ", ".join([name, *flags])
