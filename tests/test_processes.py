"""A run on two processes is the run on one."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SETTINGS = (
    "method.head.batch_norm=false",
    "method=dino",  # has no masks, so that without batch norm nothing may differ
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.max_steps=3",
    "trainer.log_every_n_steps=1",
    "evaluate=false",
    "report=false",
    "online.every_steps=2",
    "online.bank=50",
    "online.queries=25",
)


def run(out: Path, name: str, *overrides: str) -> Path:
    command = [sys.executable, "-m", "selfsup.commands", "train", f"out={out}", f"name={name}"]
    command += [*SETTINGS, *overrides]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SELFSUP_ST")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("run folder") == 1
    return out / name


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """With balanced targets, which all processes make together; the methods' tester has other losses.

    A logger gets pictures of features, to which all processes contribute, and the first one sends them.
    """
    settings = ("method.centering=sinkhorn", "logger=tensorboard")
    one = run(tmp_path, "one", "trainer.devices=1", "batch_size=64", *settings)
    two = run(tmp_path, "two", "trainer.devices=2", "batch_size=32", *settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    looks = [
        [dict(row, seconds=None, epoch=None) for row in csv.DictReader((folder / "online.csv").open())]
        for folder in (one, two)
    ]
    assert [row["step"] for row in looks[0]] == ["2"]
    assert [float(value or 0) for value in looks[1][0].values()] == pytest.approx(
        [float(value or 0) for value in looks[0][0].values()], rel=1e-3
    )
    weights, others = (load_file(folder / "encoder" / "model.safetensors") for folder in (one, two))
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="the other process is looked up in /proc")
@pytest.mark.parametrize("lost", ["the first", "the other"])
def test_where_one_process_is_killed_the_other_ends_with_a_sentence(lost: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "selfsup.commands", "train", f"out={tmp_path}", "name=run", *SETTINGS]
    command += ["trainer.devices=2", "trainer.max_steps=100000", "online=none", "guard.enabled=false"]
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as first,
        ExitStack() as at_the_end,
    ):
        at_the_end.callback(first.kill)  # or a failure would wait for the end of the run
        metrics, until = tmp_path / "run" / "metrics.csv", time.monotonic() + 300
        while not metrics.exists():
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        others = [
            int(each) for each in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        ]
        (other,) = (
            each for each in others if b"SELFSUP_STARTED_BY" in Path(f"/proc/{each}/environ").read_bytes()
        )
        os.kill(first.pid if lost == "the first" else other, signal.SIGKILL)
        assert first.wait(60) == (-signal.SIGKILL if lost == "the first" else 1)
        while Path(f"/proc/{other}/exe").exists():  # the first process may leave it to be reaped by others
            assert time.monotonic() < until
            time.sleep(0.1)
    said = log.read_text()
    assert said.count("selfsup train: ") == 1
    assert "Traceback" not in said
    assert f"resume={tmp_path / 'run'}" in said or "there is no checkpoint yet" in said
