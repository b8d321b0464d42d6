"""Whether pictures of other channels and depths are learned from as well as 8-bit RGB ones.

    python -m benchmarks.quality.channels --runs runs/channels

The same handwritten digits are written as files of four kinds, and SimCLR learns from each with its settings
for digits. A row of ``benchmarks/results/channels.jsonl`` has a kind's results, and their differences from
those of 8-bit RGB, paired over the same test images.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from benchmarks.rows import keep
from selfsup.data import digits
from selfsup.evaluation.results.comparison import difference
from selfsup.runtime import quiet

Grey = np.ndarray  # float64 (8, 8) in [0, 1]
GAINS = (1.0, 0.75, 0.5, 0.25)  # of the four bands
UNCOLOURED = "data.mirror=0 data.colour=0 data.solarize=0 data.blur=0"
COMMON = f"experiment=digits_simclr data=folder data.mean=auto {UNCOLOURED}"


def colours(grey: Grey, path: Path) -> None:
    """8-bit RGB, as PNG."""
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).convert("RGB").save(path.with_suffix(".png"))


def words(grey: Grey, path: Path) -> None:
    """One channel of 12 bits in 16, which begins at a camera's offset, as TIFF."""
    tifffile.imwrite(path.with_suffix(".tif"), np.rint(100 + 3995 * grey).astype(np.uint16))


def bands(grey: Grey, path: Path) -> None:
    """Four bands of 16 bits, each with a gain and an offset of its own, as TIFF."""
    values = np.stack([1000 * band + 40_000 * gain * grey for band, gain in enumerate(GAINS)])
    whole = np.rint(values).astype(np.uint16)
    tifffile.imwrite(path.with_suffix(".tif"), whole, photometric="minisblack", planarconfig="separate")


def floats(grey: Grey, path: Path) -> None:
    """One channel of floats, as a NumPy file."""
    np.save(path.with_suffix(".npy"), (grey * 3 - 1).astype(np.float32))


# name -> what writes a picture, and what is typed for it
KINDS: dict[str, tuple[Callable[[Grey, Path], None], str]] = {
    "8-bit RGB": (colours, ""),
    "12-bit grey": (words, "data.channels=1 data.range=auto"),
    "4 bands of 16 bits": (bands, "data.channels=4 data.range=auto"),
    "floats": (floats, "data.channels=1 data.range=auto"),
}


def written(write: Callable[[Grey, Path], None], root: Path) -> None:
    """The digits as files below ``root``, by split and class."""
    for split, source in zip(("train", "test"), digits(), strict=True):
        assert source.labels is not None
        for i in range(len(source)):
            folder = root / split / str(int(source.labels[i]))
            folder.mkdir(parents=True, exist_ok=True)
            write(source[i][0].double().numpy() / 255, folder / f"{i:04}")


def main() -> None:
    """Write the files, train and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which files and runs stay")
    runs: Path = parser.parse_args().runs
    quiet()
    first = None
    for title, (write, given) in KINDS.items():
        name = title.replace(" ", "-")
        root, folder = runs / "files" / name, runs / name
        if not root.is_dir():
            written(write, root)
        typed = [*COMMON.split(), *given.split(), f"data.root={root}"]
        if not (folder / "results.json").is_file():
            arguments = [*typed, f"out={runs}", f"name={name}", "report=false"]
            done = subprocess.run([sys.executable, "-m", "selfsup.commands", "train", *arguments])
            if done.returncode:
                raise SystemExit(f"{title} ended with {done.returncode}")
        results = json.loads((folder / "results.json").read_text())
        row = {**results["rows"][0], "name": title}
        first = first or row
        against = [difference(key, row, first) for key, score in row["scores"].items() if score["labels"]]
        command = f"selfsup train {COMMON} {given} data.root=FOLDER".replace("  ", " ")
        keep("channels", [{"kind": title, "typed": command, "results": results, "against": against}], "kind")


if __name__ == "__main__":
    main()
