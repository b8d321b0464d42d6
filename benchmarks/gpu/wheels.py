"""What a machine without a network lacks: packages for Python 3.12 on Linux, and CIFAR-10's images."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.rows import ROOT

# What a machine for torch lacks: lightly with its own needs, and the configuration's. wandb is imported for
# logger=wandb alone, and stays behind.
NAMES = (
    "lightly>=1.6,<1.7",
    "lightly-utils",
    "aenum",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "hydra-core>=1.3.2,<1.4",
    "omegaconf",
    "antlr4-python3-runtime==4.9.*",
)
IMAGES = "cifar10-train.parquet"
LARGEST = 64 * 2**20  # bytes, with the checkout
PLATFORMS = ("_2_28", "_2_17", "2014", "1")


def pack(folder: Path, data: Path) -> str:
    """Gather wheels (by uv) and images in the folder; returns how much travels, the checkout included.

    Raises:
        SystemExit: it is more than travels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / IMAGES, folder / IMAGES)
    built = [name for name in NAMES if name.startswith("antlr4")]  # which is published as source alone
    ready = [name for name in NAMES if name not in built]
    subprocess.run(["uvx", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={folder}", *built], check=True)
    target = ["--only-binary=:all:", "--python-version=3.12", f"--dest={folder}"]
    target += [f"--platform=manylinux{each}_x86_64" for each in PLATFORMS]
    subprocess.run(["uvx", "pip", "download", "-q", "--no-deps", *target, *ready], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    checkout = [ROOT / name for name in names.split("\0") if name]
    size = sum(each.stat().st_size for each in {*checkout, *folder.resolve().iterdir()} if each.is_file())
    said = (
        f"{size / 2**20:.1f} MiB with the checkout, of which {folder} holds {len(NAMES)} wheels and {IMAGES}"
    )
    if size > LARGEST:
        raise SystemExit(f"{said}: more than {LARGEST / 2**20:.0f} MiB")
    return said
