"""Whether two commits train the same encoders, bit for bit, and which of them is faster.

    python -m benchmarks.robustness.bits --before COMMIT --after COMMIT

Each method makes 30 steps in float32 on digits and on 64 px of flower photographs, once in a checkout of each
commit on this machine; the encoder's weights are compared by their hash. The seconds of the default run's
steps are taken in turn, ``--rounds`` times. Results go to ``benchmarks/results/bits.jsonl``.
"""

import argparse
import csv
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import ROOT, keep

METHODS = ("simclr", "barlow", "dino", "mae", "jepa")  # those that both commits have
DATA = Path(os.environ.get("SELFSUP_DATA", ROOT.parent / "shared" / "data")).resolve()
FLOWERS = (
    "data=parquet",
    f"data.train={DATA}/flowers-train.parquet",
    f"data.test={DATA}/flowers-val.parquet",
    "data.image_size=64",
    "batch_size=32",
)
SETTINGS: dict[str, tuple[str, ...]] = {"digits": (), "flowers": FLOWERS}
QUICK = ("evaluate=false", "report=false", "trainer.accelerator=cpu", "trainer.precision=32-true")


def train(tree: Path, out: Path, name: str, settings: Sequence[str]) -> Path:
    """A run by the code in ``tree``; returns its folder."""
    command = [sys.executable, "-m", "ssl.train", f"out={out}", f"name={name}", *QUICK, *settings]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)
    return out / name


def weights(folder: Path) -> str:
    """The hash of a run's encoder."""
    return hashlib.sha256((folder / "encoder" / "model.safetensors").read_bytes()).hexdigest()


def step_ms(folder: Path) -> float:
    """Milliseconds a step, from the first logged step to the last."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first, last = rows[1], rows[-1]
    seconds = float(last["seconds"]) - float(first["seconds"])
    return 1000 * seconds / (int(last["step"]) - int(first["step"]))


def main() -> None:
    """Compare the commits that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="of the default run by each commit")
    parser.add_argument("--data", nargs="*", choices=("digits", "flowers"), default=("digits", "flowers"))
    arguments = parser.parse_args()
    commits = {
        key: subprocess.check_output(["git", "rev-parse", "--short", commit], cwd=ROOT, text=True).strip()
        for key, commit in (("before", arguments.before), ("after", arguments.after))
    }
    with tempfile.TemporaryDirectory() as place:
        out, trees = Path(place) / "runs", {key: Path(place) / key for key in commits}
        for key, commit in commits.items():
            subprocess.run(
                ["git", "worktree", "add", "-q", "--detach", trees[key], commit], cwd=ROOT, check=True
            )
        try:
            for data in arguments.data:
                for method in METHODS:
                    typed = (f"method={method}", "trainer.max_steps=30", *SETTINGS[data])
                    found = {
                        key: weights(train(tree, out, f"{key}-{data}-{method}", typed))
                        for key, tree in trees.items()
                    }
                    row = {"kind": "bits", "data": data, "method": method, "commits": commits, **found}
                    row["same"] = found["before"] == found["after"]
                    keep("bits", [row], "kind", "data", "method")
                    print(data, method, "the same" if row["same"] else "DIFFERENT", flush=True)
            ms: dict[str, list[float]] = {key: [] for key in trees}
            for number in range(arguments.rounds):
                for key, tree in trees.items():
                    folder = train(tree, out, f"{key}-{number}", ("trainer.log_every_n_steps=5",))
                    ms[key].append(step_ms(folder))
            if not ms["after"]:
                return
            pairs = zip(ms["after"], ms["before"], strict=True)
            ratio = statistics.median(after / before for after, before in pairs)
            keep("bits", [{"kind": "step", "commits": commits, "ms": ms, "ratio": ratio}], "kind")
            print(f"a step takes {ratio:.3f} times as long", flush=True)
        finally:
            for tree in trees.values():
                subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=False)


if __name__ == "__main__":
    main()
