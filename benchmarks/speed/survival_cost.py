"""The cost of surviving, measured in a run: the guard, checkpoints, and the check for finite values."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from selfsup.callbacks.checkpoint_writer import WholeFiles
from selfsup.callbacks.checkpoints import Checkpoints
from selfsup.callbacks.finite import FiniteSteps
from selfsup.callbacks.guard import CollapseGuard
from selfsup.commands import main as selfsup
from selfsup.config import load_config

# Every so many steps there are a check and a checkpoint, which is written during the first half of the next.
STEPS, EVERY, HALF = 18, 6, 3
LENGTH = 1000  # steps of a run, for the guard's share
_START = ("begin", FiniteSteps, "on_train_batch_start")
_WATCHED = (
    _START,
    ("finite", FiniteSteps, "on_before_backward"),
    ("finite", FiniteSteps, "on_before_optimizer_step"),
    ("first look", CollapseGuard, "on_train_start"),
    ("guard", CollapseGuard, "on_before_optimizer_step"),
    ("guard", CollapseGuard, "on_train_batch_end"),
    ("look", CollapseGuard, "_observe"),
    ("save", Checkpoints, "_save"),
    ("write", WholeFiles, "_work"),
)
Calls = dict[str, list[tuple[float, float]]]  # by name, when each call began and how many seconds it took


@contextmanager
def watched() -> Iterator[Calls]:
    """Calls of the callbacks' methods while the block runs."""
    calls: Calls = defaultdict(list)

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                calls[name].append((began, time.perf_counter() - began))

        return run

    before = [(cls, method, vars(cls)[method]) for _, cls, method in _WATCHED]
    for name, cls, method in _WATCHED:
        setattr(cls, method, timed(name, vars(cls)[method]))
    try:
        yield calls
    finally:
        for cls, method, function in before:
            setattr(cls, method, function)


def cost(method: str, *more: str) -> dict[str, Any]:
    """Shares of a run's time that go into its survival.

    A checkpoint costs the time for which training waits, and the slowdown of the steps after it, during which
    it is written. The guard's share is of a run of 1,000 steps with its usual checks, including that of the
    untrained model.
    """
    usual, rarer = usual_guard(more)
    settings = [*more, f"trainer.max_steps={STEPS}", f"guard.every={max(1, EVERY // rarer)}"]
    settings.append(f"trainer.checkpoint_steps={EVERY}")
    with tempfile.TemporaryDirectory() as out, watched() as calls:
        typed = ["train", *settings, f"out={out}", "name=run", "evaluate=false", "report=false"]
        if selfsup([*typed, "online=none", "trainer.checkpoint_minutes=99"]):
            raise SystemExit(f"{settings} did not run")
        size = max(path.stat().st_size for path in (Path(out) / "run" / "checkpoints").iterdir())
    steps = own_seconds(calls)
    step = median(s for n, s in enumerate(steps) if n % EVERY >= HALF)
    slower = [sum(steps[n : n + HALF]) - HALF * step for n in range(EVERY, len(steps) - HALF + 1, EVERY)]
    waited = [seconds for _, seconds in calls["save"][:-1]]  # the last waits for the disk
    checkpoint = median(waited) + max(0.0, median(slower))
    first = calls["first look"][0][1]
    look = sum(seconds for _, seconds in calls["guard"]) / (len(calls["look"]) - 1)
    looks = sum(usual.due(step) for step in range(2, LENGTH + 1))
    finite = sum(seconds for name in ("begin", "finite") for _, seconds in calls[name]) / STEPS
    return {
        "method": method,
        "command": " ".join(["selfsup", "train", *settings]),
        "step_seconds": round(step, 4),
        "first_look_seconds": round(first, 4),
        "look_seconds": round(look, 4),
        "looks": looks,
        "shares": {"guard": (first + looks * look) / (LENGTH * step), "finite": finite / step},
        "checkpoint_mib": round(size / 2**20, 1),
        "checkpoint_waited": round(median(waited), 4),
        "checkpoint_slower": round(median(slower), 4),
        "checkpoint_written": round(median(seconds for _, seconds in calls["write"]), 4),
        "checkpoint_seconds": round(checkpoint, 4),
        "checkpoint_share": checkpoint / 60,
    }


def own_seconds(calls: Calls) -> list[float]:
    """The seconds of each step but the last, without checks and checkpoints in it."""
    begins = [began for began, _ in calls["begin"]]
    return [
        end
        - start
        - sum(seconds for name in ("guard", "save") for at, seconds in calls[name] if start <= at < end)
        for start, end in pairwise(begins)
    ]


def usual_guard(settings: tuple[str, ...]) -> tuple[CollapseGuard, int]:
    """The guard of a run with these settings, and how many times rarer than set it checks."""
    config = load_config("train", list(settings))
    about: dict[str, Any] = {"path": Path(), "console": None, "batch_size": config["batch_size"]}
    about |= {key: value for key, value in config["guard"].items() if key != "enabled"}
    guard = CollapseGuard(range(10_000), **about)
    return guard, guard.every // config["guard"]["every"]
