"""Training beside a busy program: as many threads as there are cores, one, or as many as are free.

    python -m benchmarks.speed.shared --data ../shared/data
    python -m benchmarks.speed.shared --methods mae --rounds 1

Each run is ``selfsup train`` as shipped, alone on the machine and beside a niced program that keeps one core
busy and has a session of its own, as another person's or a desktop's would. ``OMP_NUM_THREADS`` fixes the
number of threads; without it a command looks for free cores (``selfsup.cores``). The forms run in turn and
the faster of the rounds counts. Rows go to ``benchmarks/results/shared.jsonl``.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import keep
from benchmarks.speed.peers import settings
from selfsup.config import load_config

STEPS, WARM = 40, 3
# Where threads wait for each other a step takes up to half a minute.
FEW = 3
FORMS = {"free": None, "all": str(len(os.sched_getaffinity(0))), "one": "1"}


@contextmanager
def busy(is_: bool) -> Iterator[None]:
    """A program that computes meanwhile, on one thread."""
    if not is_:
        yield
        return
    program = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-c", "while True: pass"], start_new_session=True
    )
    try:
        yield
    finally:
        program.kill()
        program.wait()


def rate(method: str, data: str, threads: str | None, steps: int) -> float:
    """Images a second of a run, of the steps after the first ones."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as folder:
        typed = [*settings(method, data, steps, Path(folder)), "trainer.log_every_n_steps=1"]
        command = [sys.executable, "-m", "selfsup.commands", "train", *typed, "report=false", "online=none"]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        with (Path(folder) / "run" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))[min(WARM, steps - 2) :]
    batch = load_config("train", typed)["batch_size"]
    seconds = float(rows[-1]["seconds"]) - float(rows[0]["seconds"])
    return float((int(rows[-1]["step"]) - int(rows[0]["step"])) * batch / seconds)


def main() -> None:
    """Compare the forms for the methods that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["simclr", "mae"])
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    for method in arguments.methods:
        for beside in (False, True):
            rates = dict.fromkeys(FORMS, 0.0)
            for number in range(arguments.rounds):
                for form, threads in FORMS.items():
                    slow = beside and form == "all"
                    if slow and number:  # it takes minutes, and one round shows it
                        continue
                    with busy(beside):
                        found = rate(method, arguments.data, threads, FEW if slow else STEPS)
                    rates[form] = max(rates[form], found)
            row = {f"{form}_images_per_second": round(value, 1) for form, value in rates.items()}
            times = rates["free"] / rates["all"]
            keep(
                "shared",
                [{"method": method, "busy": beside, **row, "times_as_fast": round(times, 3)}],
                "method",
                "busy",
            )
            print(method, "beside a busy program" if beside else "alone", row, f"{times:.2f}")


if __name__ == "__main__":
    main()
