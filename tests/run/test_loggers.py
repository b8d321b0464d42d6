"""A logger gets every row, cannot hold up a run, and is told nothing of the machine unless asked."""

import csv
import getpass
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import Logger

from selfsup.callbacks.guard import callback as guard_callback
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.methods.failures import Bound, Failure
from selfsup.run import loggers, trainer
from selfsup.run.loggers import Detached, without_machine

TINY = (
    "batch_size=64",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.max_steps=3",
    "guard.enabled=false",
    "evaluate=false",
)


class Recorder(Logger):
    """Keeps what it is told, and by which thread; ``act`` is what goes wrong with it."""

    name, version = "recorder", "0"

    def __init__(self, act: Any = lambda: None) -> None:
        super().__init__()
        self.act, self.rows, self.ended = act, [], []
        self.threads: set[str] = set()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.act()
        self.threads.add(threading.current_thread().name)
        self.rows.append((step, metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.act()

    def finalize(self, status: str) -> None:
        self.ended.append(status)


def run(out: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(trainer, "make_logger", lambda config, folder, tell: Detached(recorder, tell))
    return main(["train", f"out={out}", "name=run", *TINY])


def test_a_logger_gets_every_row_in_order_from_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder()
    assert run(tmp_path, recorder, monkeypatch) == 0
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [step for step, _ in recorder.rows] == [1, 2, 3]
    assert [{"step": step, **row} for step, row in recorder.rows] == rows
    assert len({row["loss"] for row in rows}) == 3
    assert recorder.threads == {"logger"}
    assert recorder.ended == ["success"]
    assert "the logger" not in capsys.readouterr().out


def test_a_logger_gets_the_name_of_what_the_guard_warns_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(trainer, "make_logger", lambda config, folder, tell: Detached(recorder, tell))
    always = Failure("always", (Bound("update", above=-1.0),), "it is so", "do not mind")
    monkeypatch.setattr(guard_callback, "failures_of", lambda own: (always,))
    watched = ("guard.enabled=true", "guard.every=1", "guard.images=16")
    assert main(["train", f"out={tmp_path}", "name=run", *TINY, *watched]) == 0
    named = [(step, row) for step, row in recorder.rows if "guard/named/always" in row]
    assert [step for step, _ in named] == [3]  # the second look at which it counts
    assert "it is so; do not mind" in (tmp_path / "run" / "warnings.csv").read_text()


def test_a_dead_logger_is_told_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ConnectionError("the server is gone\nand more")

    recorder = Recorder(refuse)
    assert run(tmp_path, recorder, monkeypatch) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("the logger recorder failed and is not called again") == 1
    assert "(ConnectionError: the server is gone); metrics.csv has every row" in said
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4


def test_a_logger_that_hangs_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    awake = threading.Event()
    monkeypatch.setattr(loggers, "PATIENCE", 0.1)
    monkeypatch.setattr(loggers, "WAITING", 1)
    assert run(tmp_path, Recorder(awake.wait), monkeypatch) == 0
    awake.set()
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "the logger recorder was too slow: 3 calls to it are lost" in said or "was too slow: 2 calls" in said
    )
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4


def secrets(*paths: Path) -> set[bytes]:
    """What says whose machine this is."""
    here = {str(path) for path in (*paths, Path.home(), Path.cwd(), Path(sys.executable).parent)} - {"/"}
    return {os.fsencode(text) for text in here} | {b"very-private-host", b"very-private-user"}


def test_weights_and_biases_gets_no_path_name_or_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "WANDB_USERNAME"):
        monkeypatch.setenv(name, "very-private-user")
    monkeypatch.setattr(socket, "gethostname", lambda: "very-private-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "very-private-user")
    monkeypatch.setenv("WANDB_API_KEY", "k3y" * 14)
    given = [f"out={tmp_path}", "name=run", "logger=wandb", "logger.mode=offline", *TINY]
    assert main(["train", *given]) == 0
    folder = next((tmp_path / "run" / "wandb").glob("offline-run-*"))
    # What `wandb sync` uploads; logs/ stays.
    sent = [*folder.glob("*.wandb"), *(path for path in folder.glob("files/**/*") if path.is_file())]
    content = b"".join(path.read_bytes() for path in sent)
    assert b"loss" in content
    assert b"max_skipped_steps" in content
    assert [each for each in (*secrets(tmp_path), b"k3y" * 14) if each in content] == []
    # The test can fail: asked to, it tells.
    assert main(["train", *given, "name=open", "logger.private=false"]) == 0
    opened = next((tmp_path / "open" / "wandb").glob("offline-run-*/*.wandb")).read_bytes()
    assert os.fsencode(tmp_path) in opened


def test_what_is_hidden_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    config = load_config("train", ["data=folder", "data.root=scans", "out=~/runs", "method=dino"])
    assert loggers.public_name({"name": str(tmp_path / "scans")}) == "scans"
    assert without_machine({"data": {"name": str(tmp_path / "scans")}})["data"]["name"] == loggers.HIDDEN
    config["data"]["extra"] = [socket.gethostname(), "C:\\Users\\me", 3]
    shown = without_machine(config)
    assert shown["data"]["root"] == shown["out"] == loggers.HIDDEN
    assert shown["data"]["extra"] == [loggers.HIDDEN, loggers.HIDDEN, 3]
    assert "overrides" not in shown
    assert shown["method"] == config["method"]
    assert shown["trainer"] == config["trainer"]


def test_a_slow_logger_is_not_waited_for_until_the_end() -> None:
    told: list[str] = []
    go = threading.Event()
    recorder = Recorder(go.wait)
    slow = Detached(recorder, told.append)
    for step in range(5):
        slow.log_metrics({"loss": 1.0}, step)
    assert recorder.rows == []  # and yet we are here
    go.set()
    slow.finalize("success")
    assert [step for step, _ in recorder.rows] == [0, 1, 2, 3, 4]
    assert (recorder.ended, told) == (["success"], [])
