"""What goes wrong around a run: signals, a full disk, other runs at the same moment."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.robustness import kills
from selfsup.callbacks import signals
from selfsup.callbacks.checkpoint_files import newest_intact, step_of
from selfsup.callbacks.finite import FiniteSteps
from selfsup.commands import main
from selfsup.encoder import build_encoder, save_encoder
from selfsup.errors import REQUEUE
from selfsup.evaluation import registry
from selfsup.files import write_text
from selfsup.methods.base import Method
from selfsup.run import folder as run_folder
from selfsup.run import hand_over

TINY = (
    "batch_size=64",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.max_steps=4",
    "guard.enabled=false",
    "evaluate=false",
)


def run(out: Path, *given: str) -> int:
    return main(["train", f"out={out}", *TINY, *given])


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", REQUEUE), ("SIGUSR1", REQUEUE), ("SIGINT", 130)])
def test_a_signal_saves_the_step_it_comes_in_and_the_run_goes_on_from_there(
    name: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    assert run(tmp_path, "name=straight") == 0
    look = FiniteSteps.on_before_optimizer_step
    with monkeypatch.context() as patch:
        ask = kills.at_call(1, lambda *_: os.kill(os.getpid(), getattr(signal, name)), look)
        patch.setattr(FiniteSteps, "on_before_optimizer_step", ask)
        assert run(tmp_path, "name=asked") == status
    assert f"stopped by {name}; step 2 of 4 is saved" in capsys.readouterr().err
    newest, _ = newest_intact(tmp_path / "asked")
    assert newest is not None
    assert step_of(newest) == 2
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert main(["train", f"resume={tmp_path / 'asked'}"]) == 0
    assert kills.differences(tmp_path / "straight", tmp_path / "asked") == []


def test_a_signal_before_the_first_step_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfsup.run import train

    ask = kills.at_call(0, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM), train.load_data)
    monkeypatch.setattr(train, "load_data", ask)
    assert run(tmp_path, "name=asked") == REQUEUE
    assert "stopped by SIGTERM; nothing was started" in capsys.readouterr().err
    assert not (tmp_path / "asked").exists()


def test_a_signal_while_an_image_is_decoded_is_not_taken_for_a_broken_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfsup.data.readers import decode

    for index in range(128):
        Image.new("RGB", (8, 8), (2 * index, 0, 0)).save(tmp_path / f"{index}.png")
    ask = kills.at_call(3, lambda *_: os.kill(os.getpid(), signal.SIGTERM), decode._upright)
    monkeypatch.setattr(decode, "_upright", ask)
    data = ("data=folder", f"data.root={tmp_path}", "data.image_size=8", "data.workers=0")
    assert run(tmp_path / "runs", "name=asked", *data, "online=none") == REQUEUE
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "asked" / "skipped.csv").exists()


def test_a_signal_while_the_encoder_is_judged_ends_the_command_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = kills.at_call(0, lambda *_: os.kill(os.getpid(), signal.SIGUSR1), registry.record)
    monkeypatch.setattr(registry, "record", ask)
    assert run(tmp_path, "name=asked", "evaluate=true", "trainer.max_steps=1") == REQUEUE
    assert f"stopped by SIGUSR1; continue with resume={tmp_path / 'asked'}" in capsys.readouterr().err


@contextlib.contextmanager
def small_disk(where: Path, mebibytes: int) -> Iterator[Path]:
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(where)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount the small disk this test fills")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_full_disk_gives_a_sentence_and_the_last_good_checkpoint_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("name=run", "trainer.checkpoint_steps=1", "trainer.checkpoints_kept=9")
    assert main(["train", f"out={tmp_path}", *TINY, *given]) == 0
    with small_disk(tmp_path / "disk", 64) as disk:

        def fill(method: Any, *_: Any) -> None:
            method.trainer.strategy.checkpoint_io.wait()  # for the checkpoint of step 2
            room = os.statvfs(disk)
            taken = room.f_bavail * room.f_frsize - 60_000  # less than a checkpoint takes
            with (disk / "somebody else's").open("wb") as file:
                file.write(bytes(taken))

        with monkeypatch.context() as patch:
            patch.setattr(Method, "on_train_batch_start", kills.at_call(2, fill, Method.on_train_batch_start))
            assert main(["train", f"out={disk}", *TINY, *given]) == 1
        said = capsys.readouterr().err
        # Of the checkpoint of step 3, or of the row of metrics that is written beside it.
        assert "No space left on device" in said
        newest, damaged = newest_intact(disk / "run")
        assert newest is not None
        assert (step_of(newest), damaged) == (2, [])
        assert f"the last good checkpoint is {newest}, continue with resume={disk / 'run'}" in said
        assert list((disk / "run" / "checkpoints").glob(".*")) == []
        (disk / "somebody else's").unlink()
        for path in (disk / "run" / "checkpoints").glob("*1.ckpt"):
            path.unlink()
        assert main(["train", f"resume={disk / 'run'}", "trainer.checkpoints_kept=1"]) == 0
        assert kills.differences(tmp_path / "run", disk / "run") == []


def test_a_disk_that_is_full_before_the_run_begins_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        with contextlib.suppress(OSError), (disk / "somebody else's").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert main(["train", f"out={disk}", *TINY, "name=run"]) in (1, 2)
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert said.count("\n") == 1


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_text(path, "good")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    with pytest.raises(FileExistsError):
        write_text(path, "other", overwrite=False)
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_runs_started_in_the_same_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(run_folder.datetime):
        @classmethod
        def now(cls, *_: Any) -> "Noon":
            return cls(2026, 1, 1, 12)

    monkeypatch.setattr(run_folder, "datetime", Noon)
    names = {"method": {"name": "simclr"}, "data": {"name": "digits"}, "backbone": {"name": "vit"}}
    together = threading.Barrier(8)

    def begin(_: int) -> Path:
        together.wait()
        return run_folder.new_folder({"out": str(tmp_path), "name": None, **names})

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(begin, range(8)))
    assert len(set(folders)) == 8
    assert all(path.is_dir() for path in folders)
    assert [run_folder.point_latest(folder, tmp_path) for folder in folders] == [None] * 8
    assert (tmp_path / "latest").resolve() == folders[-1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_two_evaluations_of_one_encoder_at_once(tmp_path: Path) -> None:
    small = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    save_encoder(build_encoder("vit_tiny_patch16_224", 8, small), tmp_path / "encoder")
    command = ["evaluate", f"encoder={tmp_path / 'encoder'}", f"cache={tmp_path / 'cache'}"]
    command += ["data=digits", "protocols=[knn]", "controls=false"]
    logs = [tmp_path / f"{n}.log" for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda log: kills.start(command, log), logs))
    assert codes == [0, 0], logs[0].read_text() + logs[1].read_text()
    found = sorted(tmp_path.glob("results*.json"))
    assert len(found) == 2
    scores = [json.loads(path.read_text())["rows"] for path in found]
    assert scores[0] == scores[1]
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".safetensors"}


def test_one_seed_gives_one_set_of_weights_and_another_gives_others(tmp_path: Path) -> None:
    given = ("trainer.deterministic=true", "backbone.model_args.drop_path_rate=0.2")
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert run(tmp_path, f"name={name}", f"seed={seed}", *given) == 0
    assert kills.differences(tmp_path / "one", tmp_path / "again") == []
    assert "state_dict" in kills.differences(tmp_path / "one", tmp_path / "other")


def test_an_operation_that_is_not_deterministic_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        # As torch puts it; on a CPU none of our operations is without one.
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set ...")

    monkeypatch.setattr(Method, "on_train_batch_start", refuse)
    assert run(tmp_path, "name=run", "trainer.deterministic=true") == 2
    assert "trainer.deterministic=true cannot be kept: histc_cuda" in capsys.readouterr().err


def test_a_signal_to_all_processes_of_a_run_saves_its_step(tmp_path: Path) -> None:
    """The workers would die of it, and with them the step."""
    kills.make_photos(tmp_path / "photos")
    given = (f"data.root={tmp_path / 'photos'}", *kills.SMALL, "trainer.max_steps=6", "evaluate=false")
    log = tmp_path / "log"
    command = ["train", f"out={tmp_path}", "name=asked", *given, "guard.enabled=false", "online=none"]
    assert kills.start(command, log, kills.to_the_group) == REQUEUE, log.read_text()
    assert "stopped by SIGTERM; step 3 of 6 is saved" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("where", ["deleted", "renamed"])
def test_a_folder_that_is_taken_away_is_a_sentence_and_is_not_made_again(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "run"

    def take(*_: Any) -> None:
        folder.rename(tmp_path / "elsewhere")  # in one step: a checkpoint may be in the making
        if where == "deleted":
            shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)

    monkeypatch.setattr(Method, "on_train_batch_start", kills.at_call(1, take, Method.on_train_batch_start))
    given = ("name=run", "online.every_steps=1", "trainer.checkpoint_steps=1", "trainer.max_steps=4")
    assert run(tmp_path / "out", *given) == 1
    said = capsys.readouterr().err
    assert f"'{folder}' is gone" in said
    assert said.count("\n") == 1
    assert not folder.exists(), list(folder.rglob("*"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "Read-only file system: "),
        (errno.EACCES, "Permission denied: "),
        (errno.EIO, "Input/output error: "),
    ],
)
def test_what_the_disk_refuses_a_run_is_a_sentence(
    number: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "metrics.csv")

    monkeypatch.setattr(Method, "on_train_batch_start", kills.at_call(2, refuse, Method.on_train_batch_start))
    assert run(tmp_path, "name=run", "trainer.checkpoint_steps=1") == 1
    said = capsys.readouterr().err
    assert f"{words}'metrics.csv'; " in said
    assert f"continue with resume={tmp_path / 'run'}" in said
    assert said.count("\n") == 1


def test_a_start_that_fails_before_its_first_step_leaves_no_folder_and_no_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set ...")

    with monkeypatch.context() as patch:
        patch.setattr(Method, "on_train_batch_start", refuse)
        assert run(tmp_path, "name=run") == 2
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(Method, "on_train_batch_start", kills.at_call(1, refuse, Method.on_train_batch_start))
        assert run(tmp_path, "name=run") == 2
    # What was learned stays, and can be gone on with.
    assert (tmp_path / "latest").resolve() == tmp_path / "run"
    capsys.readouterr()
    assert run(tmp_path, "name=run") == 2
    assert f"or continue with resume={tmp_path / 'run'}" in capsys.readouterr().err


def test_an_encoder_that_cannot_be_saved_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("Some tensors share memory")

    monkeypatch.setattr(hand_over, "save_encoder", refuse)
    assert run(tmp_path / "runs") == 2
    assert "could be trained but not saved (Some tensors share memory)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


# A lock that is taken twice in C: the main thread never comes back to Python.
BLOCKED = """
import ctypes
from selfsup.callbacks.signals import StopSignals
signals = StopSignals()
with signals.caught(), signals.waiting():
    if {looking}:
        signals.looking(1, "127.0.0.1:1")
    lock = ctypes.create_string_buffer(64)
    print("ready", flush=True)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a lock of zeros is Linux's")
@pytest.mark.parametrize("looking", [False, True])
def test_a_process_that_waits_outside_of_python_ends_by_signals(looking: bool) -> None:
    command = [sys.executable, "-c", BLOCKED.format(looking=looking)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process, ExitStack() as at_the_end:
        at_the_end.callback(process.kill)  # or a failure would wait for it for ever
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        if looking:  # there is nothing to save yet
            assert process.wait(30) == REQUEUE
            assert process.stderr is not None
            assert "stopped by SIGTERM while the processes looked for each other" in process.stderr.read()
            return
        process.send_signal(signal.SIGTERM)  # the same, passed on by a launcher
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5 * signals.TOGETHER)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
