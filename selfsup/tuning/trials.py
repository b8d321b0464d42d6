"""A trial: a run of ``selfsup train`` in a process of its own, and the score of its encoder."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup.errors import REQUEUE
from selfsup.evidence import goodness
from selfsup.experiments import as_override
from selfsup.files import read_bytes
from selfsup.lock import Lock
from selfsup.text import shown
from selfsup.tuning.study import TRIALS, Study, Trial

_EARLY = ("stopped at step", "not finite")  # in the sentence of a run that collapsed, or whose loss blew up
_ASKED_TO_END = (REQUEUE, 130, -signal.SIGINT, -signal.SIGTERM)
_TAIL = 64 * 2**10  # bytes of a log in which its last sentence is
Outcome = Mapping[str, Any]  # ``value`` and the facts of Study.tell


class Interrupted(Exception):
    """A signal ended a trial's process: the trial is made again when the search goes on."""


def search(
    study: Study,
    trial: Callable[[Trial], Outcome],
    count: int,
    minutes: float | None,
    told: Callable[[Trial, Outcome], None] = lambda trial, outcome: None,
) -> None:
    """Ask for values, make the trial, tell its outcome, until there is no room for another.

    Args:
        trial: gives the worth ``value`` of a trial, or None, with facts (:meth:`Study.tell`).
        count, minutes: of trials in all.
        told: called after each.
    """
    while True:
        with study.asked(count, minutes) as asked:
            if asked is None:
                return
            started = time.perf_counter()
            outcome = dict(trial(asked))
            outcome.setdefault("minutes", round((time.perf_counter() - started) / 60, 4))
            study.tell(asked.number, **outcome)
        told(asked, outcome)


@dataclass
class Trainer:
    """Makes trials.

    Attributes:
        folder: of the search.
        command: settings of ``selfsup train`` that all trials share.
        settings: of a trial's values: those that they set.
        judge: gives an encoder's folder a record of the score.
        score: its name.
    """

    folder: Path
    command: Sequence[str]
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    judge: Callable[[Path], Mapping[str, Any]]
    score: str

    def __call__(self, trial: Trial) -> Outcome:
        name = f"{trial.number:04d}"
        run = self.folder / TRIALS / name
        # The first has the settings as they are, also those that its dimensions could only round.
        found = {} if trial.number == 0 else self.settings(trial.values)
        if not (run / "encoder" / "card.json").is_file():
            shutil.rmtree(run, ignore_errors=True)  # of a process that died
            own = [f"{key}={as_override(value)}" for key, value in found.items()]
            places = [f"out={self.folder / TRIALS}", f"name={name}"]
            status = self._train([*self.command, *own, *places], run.with_suffix(".log"), trial.lock)
            if status:
                said = last_sentence(run.with_suffix(".log"))
                if status in _ASKED_TO_END:
                    raise Interrupted(said)
                early = status == 1 and any(words in said for words in _EARLY)
                killed = f"it was killed by signal {-status}, as if memory ran out" if status < 0 else said
                return {"value": None, "failed": not early, "reason": killed or f"it ended with {status}"}
        record = self.judge(run / "encoder")
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # nobody resumes a trial
        value, interval = record["value"], record["interval"]
        facts = {"score": value, "interval": interval, "flags": list(record["flags"])}
        facts |= {key: record[key] for key in ("told",) if key in record}
        if value is None:
            return {"value": None, "reason": record["reason"], **facts}
        return {"value": goodness(self.score, value), **facts}

    def _train(self, command: Sequence[str], log: Path, lock: Lock | None) -> int:
        """The exit status of ``selfsup train``, which holds the trial's lock too, should this process die."""
        held = () if lock is None or lock.file is None else (lock.file.fileno(),)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "selfsup.commands", "train", *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=held,
            )
            try:
                return process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()


def last_sentence(log: Path) -> str:
    """Why a command ended, as it said in its last line.

    A log may be long, and hold whatever a name or a library printed.
    """
    text = read_bytes(log, 2**30)[-_TAIL:].decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("selfsup train: ")]
    return shown((own or lines or [""])[-1].removeprefix("selfsup train: "), 300)
