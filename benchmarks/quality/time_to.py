"""Minutes of training until nearest neighbours reach 40, 45 and 50 %: ours as shipped, and lightly's form.

    python -m benchmarks.quality.time_to --runs runs/time-to                              # an hour a method
    python -m benchmarks.quality.time_to --runs runs/time-to --methods simclr --minutes 2

Both sides train the same network on 10,000 images of CIFAR-10, in turn, each in a process of its own, for as
many steps as they make in ``--minutes``: ours is ``experiment=cifar10_cpu_NAME``, whose schedules then end
there; theirs is ``benchmarks/speed/forms`` under a plain Lightning trainer. Ten times on the way the encoder
is kept. All are judged on test images when the run is over, and nothing is chosen by that. Minutes count from
the first step and include saving. What is there is not made again. Rows go to
``benchmarks/results/time_to.jsonl``.
"""

import argparse
import copy
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.peers import BANK, QUERIES, WITH_FORMS
from selfsup.config import load_config
from selfsup.runtime import prepare_process

POINTS, TRIED = 10, 40  # encoders that are judged; steps by which the speed is known
AIMS = (0.40, 0.45, 0.50)
SIDES = ("ours", "lightly")

Point = tuple[float, float]  # minutes and accuracy


def settings(method: str, data: str, steps: int, out: Path) -> list[str]:
    """Our side's command; the other takes network, batch and widths from the same settings."""
    return [
        f"experiment=cifar10_cpu_{method}",
        "data=parquet",
        f"data.train={data}/cifar10-train.parquet[:{BANK}]",
        f"data.test={data}/cifar10-test.parquet[:{QUERIES}]",
        f"trainer.max_steps={steps}",
        f"trainer.checkpoint_steps={steps // POINTS}",
        "trainer.checkpoint_minutes=1e6",
        f"trainer.checkpoints_kept={POINTS + 1}",
        "trainer.log_every_n_steps=1",
        "online=none",
        "evaluate=false",
        "report=false",
        f"out={out}",
        "name=run",
    ]


def ours(config: dict[str, Any], steps: int) -> list[tuple[float, Any]]:
    """Seconds and encoder at each point."""
    from selfsup.build import make_encoder, make_method
    from selfsup.callbacks.checkpoint_files import checkpoints, read_checkpoint, step_of
    from selfsup.run.train import train

    folder = train(config)
    with (folder / "metrics.csv").open() as file:
        seconds = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(file)}
    found = []
    for checkpoint in checkpoints(folder):
        method = make_method(config, make_encoder(config), devices=1)
        method.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
        found.append((seconds[step_of(checkpoint)], method.learned_encoder().eval()))
    return sorted(found, key=lambda each: each[0])


def theirs(config: dict[str, Any], method: str, steps: int) -> list[tuple[float, Any]]:
    """Seconds and encoder at each point."""
    import pytorch_lightning as pl

    from benchmarks.speed.peers import fit_form

    class Kept(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            self.started, self.states = time.perf_counter(), []

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if trainer.global_step % (steps // POINTS) == 0:
                state = copy.deepcopy(pl_module.backbone.state_dict())
                self.states.append((time.perf_counter() - self.started, state))

    kept = Kept()
    encoder = fit_form(method, config, steps, kept)
    found = []
    for seconds, state in kept.states:
        encoder.model.load_state_dict(state)
        found.append((seconds, copy.deepcopy(encoder).eval()))
    return found


def measured(side: str, method: str, data: str, steps: int, folder: Path) -> list[Point]:
    """Minutes and accuracy at each point of one run, made in a process of its own unless it is there."""
    result = folder / f"{method}-{side}-{steps}.json"
    if not result.is_file():
        typed = [sys.executable, "-m", "benchmarks.quality.time_to", "--side", side, "--methods", method]
        typed += ["--data", data, "--steps", str(steps), "--out", str(result), "--runs", str(folder)]
        if status := subprocess.run(typed).returncode:
            raise SystemExit(f"{side} {method} ended with {status}")
    return [(minutes, accuracy) for minutes, accuracy in json.loads(result.read_text())]


def one_side(arguments: argparse.Namespace) -> None:
    """In the process of one run: train, judge, and leave the points."""
    import tempfile

    from benchmarks.speed.peers import nearest

    method, steps = arguments.methods[0], arguments.steps
    with tempfile.TemporaryDirectory() as out:
        config = load_config("train", settings(method, arguments.data, steps, Path(out)))
        made = ours(config, steps) if arguments.side == "ours" else theirs(config, method, steps)
        points = [(round(seconds / 60, 4), round(nearest(encoder, config), 4)) for seconds, encoder in made]
    arguments.out.write_text(json.dumps(points))


def reached(points: list[Point], aim: float) -> float | None:
    """Minutes until the accuracy is first there, on the line between two points; None if it never is.

    >>> reached([(1.0, 0.3), (2.0, 0.4), (3.0, 0.35)], 0.35)
    1.5
    """
    before = (0.0, 0.0)
    for now in points:
        if now[1] >= aim:
            share = (aim - before[1]) / (now[1] - before[1])
            return now[0] if before == (0.0, 0.0) else before[0] + share * (now[0] - before[0])
        before = now
    return None


def compared(method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn."""
    row: dict[str, Any] = {"method": method, "minutes": arguments.minutes}
    for side in SIDES:
        tried = measured(side, method, arguments.data, TRIED, arguments.runs)
        each = (tried[-1][0] - tried[0][0]) / (TRIED - TRIED // POINTS)
        steps = max(POINTS, round(arguments.minutes / each / POINTS) * POINTS)
        row[side] = {"steps": steps, "points": measured(side, method, arguments.data, steps, arguments.runs)}
    row["reached"] = {
        f"{aim:.0%}": {side: reached(row[side]["points"], aim) for side in SIDES} for aim in AIMS
    }
    return row


def main() -> None:
    """Compare the methods that the command line asks for."""
    if "--side" in sys.argv[1:] and "ours" in sys.argv[1:]:
        prepare_process()  # as every command does, before torch is imported
    from benchmarks.rows import keep

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=WITH_FORMS, default=WITH_FORMS)
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, for each side")
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the points of a run stay")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    if arguments.side:
        one_side(arguments)
        return
    for method in arguments.methods:
        found = compared(method, arguments)
        print(json.dumps(found))
        keep("time_to", [found], "method")


if __name__ == "__main__":
    main()
