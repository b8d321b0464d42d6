"""SimCLR with a ResNet-18 on CIFAR-10, stopped and resumed, and how good it is after each piece."""

import json
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks.gpu.machine import Machine
from benchmarks.speed.peers import nearest
from selfsup.build import make_encoder, make_method
from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint, step_of
from selfsup.config import load_config
from selfsup.errors import REQUEUE
from selfsup.runs import read_config

PIECES = ("1", "2", "3")
SECONDS = 38  # of a piece, its start included
STEPS = 1_500
BANK, QUERIES = "[:45000]", "[45000:]"  # of the training file: one file travels


def piece(item: str, machine: Machine) -> dict[str, Any]:
    """Train for some seconds, stop as a scheduler would, and judge the newest checkpoint."""
    folder = machine.runs / "simclr"
    train = f"{machine.data}/cifar10-train.parquet"
    bank, queries = ("[:300]", "[300:400]") if machine.small else (BANK, QUERIES)
    typed = ["experiment=cifar10_simclr", "data=parquet", f"data.train={train}{bank}"]
    typed += [f"data.test={train}{queries}", f"trainer.max_steps={machine.of(STEPS, 6)}", "seed=0"]
    typed += ["online=none", "evaluate=false", "report=false", f"trainer.accelerator={machine.accelerator}"]
    typed += ["batch_size=32"] if machine.small else ["batch_size=1024"]
    given = (
        [f"resume={folder}"] if folder.exists() else [*typed, f"out={machine.runs}", f"name={folder.name}"]
    )
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "selfsup.commands", "train", *given])
    stopper = threading.Timer(SECONDS, child.terminate)
    stopper.start()
    try:
        status = child.wait()
    finally:  # also where the time of the piece is over
        stopper.cancel()
        child.kill()
    if status not in (0, REQUEUE):
        raise RuntimeError(f"selfsup train ended with {status}")
    seconds = time.monotonic() - started
    clock = machine.runs / "simclr.seconds.json"
    before = json.loads(clock.read_text()) if clock.is_file() else 0.0
    clock.write_text(json.dumps(before + seconds))
    config = read_config(folder, "resume")
    checkpoint, _ = newest_intact(folder)
    if checkpoint is None:
        raise RuntimeError("the piece was too short for a checkpoint")
    method = make_method(config, make_encoder(config), devices=1)
    method.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    judged = load_config("train", typed)
    return {
        "steps": step_of(checkpoint),
        "seconds_in_all": round(before + seconds, 1),
        "knn": round(nearest(method.learned_encoder().eval().to(machine.device), judged), 4),
        "over": status == 0,
    }
