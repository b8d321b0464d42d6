"""Where a result comes from: device, versions, revision."""

import os
import platform
import subprocess
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


def processor() -> str:
    """The processor's name, and whether it has the bfloat16 instructions that decide most timings."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return ", ".join([name, *flags])
