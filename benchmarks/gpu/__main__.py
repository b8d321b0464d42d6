"""Twelve minutes of one GPU: every method against the CPU, speed by stage, and SimCLR on CIFAR-10 in pieces.

    python -m benchmarks.gpu && python -m benchmarks.tables      # on a machine with a GPU
    python -m benchmarks.gpu --parts right speed                 # some parts
    python -m benchmarks.gpu --dry cpu --results runs/dry        # all on a CPU, at a hundredth of its size
    python -m benchmarks.gpu --dry pretended --results runs/dry  # devices and waits alone, without a GPU
    python -m benchmarks.gpu --pack .carried                     # what a machine without a network needs

Each part has so many seconds and goes through its items until they have passed; what is left over is a row
that says so. An item that fails or takes too long is a row with its error, and the others go on. Rows are
written at once, and a second call makes only those that are missing or failed. They go to
``benchmarks/results/gpu.jsonl``.

A machine without a network but with torch, torchvision, timm and Lightning gets the checkout with the folder
of ``--pack``, which holds the other packages and CIFAR-10's training images, 64 MiB in all. Run it where a
GPU is with (570 seconds a command; once more for what is left, with the rows of the first call in place)::

    python3 -m pip install -q --no-index --no-deps --target /tmp/site .carried/*.whl
    export PYTHONPATH=/tmp/site PYTHONUNBUFFERED=1
    cp benchmarks/results/gpu.jsonl $OUT; python3 -m benchmarks.gpu --data .carried --results $OUT --minutes 9
"""

import argparse
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.runtime import prepare_process

prepare_process()  # as every command does, before torch is imported

import torch  # noqa: E402

from benchmarks.gpu import learning, right, speed  # noqa: E402
from benchmarks.gpu.machine import Machine  # noqa: E402
from benchmarks.gpu.wheels import pack  # noqa: E402
from benchmarks.rows import RESULTS, Row, keep, read  # noqa: E402
from selfsup.runtime import quiet  # noqa: E402


class Part(NamedTuple):
    """One part of the twelve minutes.

    Attributes:
        seconds: it may take, unless parts before it left some.
        items: of which each gives a row.
        measured: an item's row, on a machine.
    """

    seconds: int
    items: Iterable[str]
    measured: Callable[[str, Machine], Mapping[str, Any]]


# In the order of their worth: whether it is right comes before how fast it is.
PARTS = {
    "machine": Part(25, ["rates"], speed.rates),
    "right": Part(170, right.METHODS, right.compared),
    "runs": Part(60, right.RUNS, right.run),
    "speed": Part(225, speed.RUNS, speed.stages),
    "learning": Part(150, learning.PIECES, learning.piece),
    "views": Part(40, speed.VIEWS, speed.views),
    "compile": Part(50, speed.COMPILED, speed.compiled),
}
DRY = {"cpu": "cpu", "pretended": "meta"}


def measure(
    parts: Mapping[str, Part], machine: Machine, results: Path, minutes: float = 12.0, tell: Any = print
) -> None:
    """Make the rows that are missing, within the minutes."""
    there = {(row["part"], row["item"]) for row in read("gpu", results) if "error" not in row}
    end = time.monotonic() + 60 * minutes
    budget = time.monotonic()
    for name, part in parts.items():
        budget += part.seconds
        for item in part.items:
            if (name, item) in there:
                continue
            left = min(budget, end) - time.monotonic()
            row: Row = tried(part, item, machine, left) if left > 0 else {"error": "no time was left"}
            keep("gpu", [{"part": name, "item": item, **row}], "part", "item", folder=results)
            tell(f"{name} {item}: {row}")


def tried(part: Part, item: str, machine: Machine, seconds: float) -> Row:
    """An item's row, or the error it ended with; it is stopped after so many seconds."""
    started = time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        row = dict(part.measured(item, machine))
    except Exception as error:  # noqa: BLE001  # whatever it is, the other items are still worth their minutes
        said = str(error).strip().partition("\n")[0]
        row = {"error": f"{type(error).__name__}: {said}"[:300]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    machine.emptied()
    return {**row, "took_seconds": round(time.monotonic() - started, 1)}


def _too_long(number: int, frame: Any) -> None:
    raise TimeoutError("the time of this part is over")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=12.0, help="in all")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of CIFAR-10's Parquet"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of gpu.jsonl")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/gpu"), help="folder for runs and their images"
    )
    parser.add_argument("--dry", choices=DRY, help="without a GPU; needs --results")
    parser.add_argument(
        "--pack", type=Path, help="gather in this folder what a machine without a network lacks"
    )
    arguments = parser.parse_args()
    if arguments.pack:
        print(pack(arguments.pack, arguments.data))
        return
    if arguments.dry and arguments.results == RESULTS:
        parser.error("--dry measures nothing that the results are of; give --results another folder")
    if not arguments.dry and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --dry cpu or --dry pretended tries the script without one")
    quiet()
    device = torch.device(DRY.get(arguments.dry, "cuda"))
    parts = {name: PARTS[name] for name in arguments.parts}
    if device.type == "meta":  # nothing there has a speed or learns
        parts = {name: part for name, part in parts.items() if name == "right"}
    runs = arguments.results / "runs" if arguments.dry else arguments.runs
    machine = Machine(device, arguments.data, runs, small=bool(arguments.dry))
    measure(parts, machine, arguments.results, arguments.minutes)


if __name__ == "__main__":
    main()
