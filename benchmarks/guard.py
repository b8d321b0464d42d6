"""What the collapse guard names, on provoked failures and on healthy runs, and what it costs.

    python benchmarks/guard.py --provoked            # each failure, on digits
    python benchmarks/guard.py --healthy --seeds 10  # runs in which nothing is wrong
    python benchmarks/guard.py --healthy --batch-size 8  # with a batch smaller than the least probe

Each run is appended to ``benchmarks/results/guard.json`` as it ends, and is not repeated by the next call.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from origin import origin

from selfsup.callbacks.metrics import MetricsFile
from selfsup.commands import main as selfsup

HERE = Path(__file__).parent
METHODS = ("simclr", "barlow", "mae", "dino", "jepa")
STEPS = 200
RESULT = HERE / "results" / "guard.json"


class Enough(Exception):
    """The first steps of a run are all that is wanted."""


def train(settings: list[str], steps: int = STEPS) -> dict[str, Any]:
    """What the guard saw and said in the first steps of a run as a user would start it."""
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


def record(out: Path, kind: str, key: dict[str, Any], run: Callable[[], dict[str, Any]]) -> None:
    """Append a run's row to the result, unless it is there."""
    found = json.loads(out.read_text()) if out.exists() else {}
    if any(all(row[name] == value for name, value in key.items()) for row in found.get(kind, [])):
        return
    row = {**key, **run(), **origin()}
    # Read anew: another call may have appended meanwhile.
    found = json.loads(out.read_text()) if out.exists() else {}
    found.setdefault(kind, []).append(row)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(kind, key, row.get("warnings"), flush=True)


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
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    # The tests provoke the same failures.
    sys.path.insert(0, str(HERE.parent))
    from tests.callbacks.guard.provoked import PROVOKED, SMALL

    for case in PROVOKED if arguments.provoked else ():
        settings = [f"experiment=digits_{case.method}", *SMALL, "batch_size=64", *case.settings]
        record(arguments.out, "provoked", {"failure": case.name}, lambda settings=settings: train(settings))
    for seed in range(arguments.seeds if arguments.healthy else 0):
        for method in arguments.methods:
            settings = [f"experiment=digits_{method}", f"seed={seed}"]
            settings += [] if arguments.full else [*SMALL, f"batch_size={arguments.batch_size}"]
            key = {"method": method, "seed": seed, "full": arguments.full}
            key |= {} if arguments.full else {"batch_size": arguments.batch_size}
            record(arguments.out, "healthy", key, lambda settings=settings: train(settings))


if __name__ == "__main__":
    main()
