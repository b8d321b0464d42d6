"""Threads go down while other programs use the cores, and up again; loading processes are not others."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from selfsup import cores
from selfsup.config import load_config
from selfsup.cores import Cores, Used, keep, look, others_used, used, watch
from selfsup.run.train import train

BURN = "import time\nwhile time.process_time() < {}: pass\n"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    keep()


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Threads after each of several looks at two cores, of which others used so much meanwhile."""

    def after(*shares: float) -> list[int]:
        now = [Used(0.0, 0.0, 0.0)]
        monkeypatch.setattr(cores, "used", lambda: now[0])
        monkeypatch.setattr(cores, "_own_cores", lambda: [0, 1])
        monkeypatch.setattr(time, "monotonic", lambda: now[0].clock)
        seen, counts = Cores(), []
        for share in shares:
            now[0] = Used(now[0].clock + 5, now[0].all + 5 * (share + 0.7), now[0].own + 5 * 0.7)
            seen.look()
            counts.append(torch.get_num_threads())
        return counts

    return after


def test_threads_go_down_at_once_and_up_when_it_stays_calm(
    others: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    assert others(0.2, 0.9, 0.0, 0.0, 0.8, 0.0, 0.1, 0.2, 0.0, 1.5) == [2, 1, 1, 1, 1, 1, 1, 1, 2, 1]
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "other programs use 0.9 of 2 cores: threads go down from 2 to 1" in said
    assert "OMP_NUM_THREADS=2" in said


def test_one_thread_is_left_alone(others: Callable[..., list[int]]) -> None:
    torch.set_num_threads(1)
    assert others(0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0) == [1] * 7


def test_within_two_seconds_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Cores()
    monkeypatch.setattr(time, "monotonic", lambda: seen.before.clock + 1.9)
    monkeypatch.setattr(cores, "used", lambda: pytest.fail("it looked"))
    seen.look()


def test_what_this_program_started_is_its_own() -> None:
    before = used()
    child = subprocess.Popen([sys.executable, "-c", BURN.format(0.5) + "input()"], stdin=subprocess.PIPE)
    while used().own - before.own < 0.5:  # while it is there
        assert child.poll() is None
    child.communicate(b"\n")
    after = used()  # when it has ended
    assert after.own - before.own > 0.5
    assert after.all - before.all > 0.4  # the system counts in hundredths
    assert others_used(before, after._replace(all=before.all)) == 0.0


def test_the_environment_says_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    watch()
    assert cores._cores is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    watch()
    assert cores._cores is None
    look()


class Counting:
    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> None:
        self.looks += 1


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_looks_in_every_step_unless_it_is_to_give_the_same_bits(
    deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Counting()
    monkeypatch.setattr(cores, "_cores", watched)
    small = [f"backbone.model_args.{key}=2" for key in ("depth", "num_heads")]
    off = ["backbone.model_args.embed_dim=32", "evaluate=false", "report=false", "online=none"]
    typed = [f"out={tmp_path}", "trainer.max_steps=3", f"trainer.deterministic={deterministic}"]
    train(load_config("train", [*typed, *small, *off]))
    assert watched.looks == 0 if deterministic else watched.looks >= 6
