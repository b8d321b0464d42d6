"""Warnings of the collapse guard, on provoked failures and on healthy runs, and its cost.

    python -m benchmarks.robustness.guard --provoked  # each failure, on digits
    python -m benchmarks.robustness.guard --healthy --seeds 10  # healthy runs
    python -m benchmarks.robustness.guard --healthy --batch-size 8  # smaller than the probe

Each run is appended to ``benchmarks/results/guard.jsonl`` as it ends, and is not repeated by the next call.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rows import METHODS, keep, read
from selfsup.callbacks.metrics import MetricsFile
from selfsup.commands import main as selfsup

STEPS = 200


class Enough(Exception):
    """Ends a run after its first steps."""


def train(settings: list[str], steps: int = STEPS) -> dict[str, Any]:
    """The guard's signals and warnings in the first steps of a run as a user would start it."""
    write = MetricsFile.on_train_batch_end
    length: list[int] = []

    def until(self: MetricsFile, trainer: Any, *rest: Any) -> None:
        write(self, trainer, *rest)
        length[:] = [int(trainer.estimated_stepping_batches)]
        if trainer.global_step >= steps:
            raise Enough

    with tempfile.TemporaryDirectory() as out:
        quick = ("evaluate=false", "report=false", "traceback=true")
        typed = ["train", *settings, f"out={out}", "name=run", *quick]
        MetricsFile.on_train_batch_end = until  # type: ignore[method-assign]
        try:
            selfsup([*typed, "trainer.log_every_n_steps=50"])
        except Enough:
            pass
        finally:
            MetricsFile.on_train_batch_end = write  # type: ignore[method-assign]
        looks, warnings = (rows(Path(out) / "run" / f"{name}.csv") for name in ("metrics", "warnings"))
    seen = [
        {"step": int(row["step"])}
        | {
            key.removeprefix("guard/"): float(f"{float(value):.4g}")
            for key, value in row.items()
            if key.startswith("guard/") and value not in ("", "nan")
        }
        for row in looks
    ]
    named = [{"step": int(row["step"]), "name": row["name"]} for row in warnings]
    command = " ".join(["selfsup", "train", *settings])
    return {"command": command, "steps": length[0], "warnings": named, "looks": seen}


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record(key: dict[str, Any], run: Callable[[], dict[str, Any]]) -> None:
    """Add a run's row to the results, unless it is there."""
    if any(all(row.get(name) == value for name, value in key.items()) for row in read("guard")):
        return
    row = {**key, **run()}
    keep("guard", [row], *key)
    print(key, row["warnings"], flush=True)


def main() -> None:
    """Make the runs that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provoked", action="store_true")
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--full", action="store_true", help="healthy runs with the experiment's backbone and batch"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    from tests.callbacks.guard.provoked import PROVOKED, SMALL

    for case in PROVOKED if arguments.provoked else ():
        settings = [f"experiment=digits_{case.method}", *SMALL, "batch_size=64", *case.settings]
        key = {"kind": "provoked", "failure": case.name}
        record(key, lambda settings=settings: train(settings))
    for seed in range(arguments.seeds if arguments.healthy else 0):
        for method in arguments.methods:
            settings = [f"experiment=digits_{method}", f"seed={seed}"]
            settings += [] if arguments.full else [*SMALL, f"batch_size={arguments.batch_size}"]
            key = {"kind": "healthy", "method": method, "seed": seed, "full": arguments.full}
            key |= {} if arguments.full else {"batch_size": arguments.batch_size}
            record(key, lambda settings=settings: train(settings))


if __name__ == "__main__":
    main()
