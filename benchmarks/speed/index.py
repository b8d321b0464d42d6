"""How long a folder of a million images takes to its first batch: our first start, our second, torchvision's.

    python -m benchmarks.speed.index --root FOLDER

makes the folder of links if it is not there (half of them hard, half symbolic, to 500 JPEG files) and writes
benchmarks/results/index.jsonl. Every start is a process of its own; the operating system has cached the
folder for all of them.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ORIGINALS, BATCH = 500, 128
AIMS = {"first start": 20, "second start": 3}  # our targets: most seconds to the first batch


def make(root: Path, files: int, folders: int) -> None:
    """``files`` links in ``folders`` class folders, to 500 photographs of noise of 256 pixels."""
    from PIL import Image

    store = root.with_name(root.name + "-originals")
    store.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(ORIGINALS):
        stream = io.BytesIO()
        noise = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((256, 192 + i % 64)).save(stream, "JPEG")
        (store / f"{i}.jpg").write_bytes(stream.getvalue())
    each = files // folders
    for folder in range(folders):
        here = root / f"class-{folder:04}"
        here.mkdir(parents=True)
        for i in range(each):
            original, link = str(store / f"{(folder + i) % ORIGINALS}.jpg"), f"{here}/image-{i:06}.jpg"
            (os.link if i % 2 else os.symlink)(original, link)


def start(root: str, reader: str) -> dict[str, float]:
    """Seconds to the first batch, decoded, with and without imports, and the memory that it took."""
    began = time.perf_counter()
    import torch

    if reader == "selfsup":
        from selfsup.config import load_config
        from selfsup.data import load_data
    else:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms.v2.functional import pil_to_tensor

    imported, before = time.perf_counter(), _memory()
    if reader == "selfsup":
        train, _ = load_data(load_config("train", ["data=folder", f"data.root={root}"])["data"])
        images = [train[i] for i in torch.randint(len(train), (BATCH,)).tolist()]
    else:
        data = ImageFolder(root)
        images = [pil_to_tensor(data[i][0]) for i in torch.randint(len(data), (BATCH,)).tolist()]
    assert len(images) == BATCH
    done = time.perf_counter()
    return {
        "seconds": round(done - imported, 3),
        "seconds_with_imports": round(done - began, 3),
        "megabytes": round((_memory() - before) / 1024, 1),
    }


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--start", choices=["selfsup", "torchvision"], help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help="only make the folder")
    args = parser.parse_args()
    if args.start:
        print(json.dumps(start(str(args.root), args.start)))
        return
    if not args.root.exists():
        make(args.root, args.files, args.folders)
    if args.make:
        return
    from benchmarks.rows import keep

    with tempfile.TemporaryDirectory() as cache:

        def fresh(reader: str) -> dict[str, float]:
            command = [
                sys.executable,
                "-m",
                "benchmarks.speed.index",
                "--root",
                str(args.root),
                "--start",
                reader,
            ]
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            return json.loads(subprocess.check_output(command, env=environment, text=True))

        rows = {
            "torchvision ImageFolder": fresh("torchvision"),
            "first start": fresh("selfsup"),
            "second start": fresh("selfsup"),
        }
        changed = args.root / "class-0000" / "image-new.jpg"
        changed.symlink_to(args.root.with_name(args.root.name + "-originals") / "0.jpg")
        rows["after a change in one folder"] = fresh("selfsup")
        changed.unlink()
        index = sum(file.stat().st_size for file in Path(cache).rglob("*.npz"))
    peer = rows["torchvision ImageFolder"]["seconds"]
    about = {
        "command": "python -m benchmarks.speed.index --root FOLDER",
        "files": args.files,
        "folders": args.folders,
        "batch": BATCH,
        "index_megabytes": round(index / 2**20, 1),
    }
    found = [
        {"start": name, **about, **row, "times_as_fast": peer / row["seconds"]} for name, row in rows.items()
    ]
    keep("index", found, "start")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
