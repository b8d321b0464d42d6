"""A search's state: Optuna's journal in the search's folder, shared by all processes that search.

A process that asks for values takes up a trial whose process died before it proposes a new one. Proposals are
a function of the seed, the trial's number and the results so far, whichever process asks, and whether or not
the search was stopped in between.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.files import read_json, write_text
from selfsup.lock import Lock
from selfsup.text import shown
from selfsup.tuning.space import Dimension, rounded

JOURNAL, FACTS = "journal.log", "study.json"
NAME = "selfsup"
TRIALS = "trials"
_VERSION = 1  # of what is in the folder
_ATTEMPTS = 2  # of a trial whose process dies


@dataclass
class Trial:
    """A trial as the journal has it.

    Attributes:
        number: from 0, which has the settings as they are.
        state: ``running``, ``complete``, ``pruned`` or ``failed``.
        values: by dimension; of the first, those that lie in their ranges.
        value: the score; None without one.
        interval: of the score, if it has one.
        minutes: of training and judging.
        reason: why there is no score.
        facts: whatever else was told.
        lock: of a trial that is being made, which its processes should hold.
    """

    number: int
    state: str
    values: dict[str, Any]
    value: float | None = None
    interval: list[float] | None = None
    minutes: float = 0.0
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    lock: Lock | None = None


def require_optuna() -> None:
    """Raise a UsageError unless Optuna is there."""
    if find_spec("optuna") is None:
        raise UsageError("tune needs one more package: pip install 'selfsup[tune]'")


class Study:
    """The trials of a search.

    Args:
        folder: of the search, made if it is missing.
        dimensions: what is searched.
        facts: whatever decides the trials and their scores, in plain JSON types: a study continues only
            with the same.
        seed: of the proposals.

    Raises:
        UsageError: the folder holds another search, or is damaged.
    """

    def __init__(self, folder: Path, dimensions: Sequence[Dimension], facts: Mapping[str, Any], seed: int):
        self.folder, self.dimensions, self.seed = folder, list(dimensions), seed
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
        self.lock = Lock(folder / "study.lock")
        with self.lock:
            require_facts(folder, facts)
            self._mend()
            self._study = self._opened()
            if not self._study.get_trials(deepcopy=False):
                own = {each.name: each.default for each in dimensions if each.default is not None}
                self._study.enqueue_trial(own)

    def _mend(self) -> None:
        """Cut the journal to its last whole line: a process was killed while it wrote."""
        path = self.folder / JOURNAL
        with Lock(self.folder / f"{JOURNAL}.flock"):
            content = path.read_bytes() if path.is_file() else b""
            if content and not content.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(content.rfind(b"\n") + 1)

    def _opened(self) -> Any:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Optuna's own locks outlive a process that is killed, and keep the others waiting for half a minute.
        lock: Any = Lock(self.folder / f"{JOURNAL}.flock")
        try:
            storage = JournalStorage(JournalFileBackend(str(self.folder / JOURNAL), lock_obj=lock))
            return optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True
            )
        # Whatever a damaged line leads to, deep inside of Optuna.
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError) as error:
            raise UsageError(
                f"'{self.folder / JOURNAL}' is damaged ({type(error).__name__}: {shown(error, 80)}); "
                "name another folder with out="
            ) from error

    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        return [
            _trial(each) for each in self._study.get_trials(deepcopy=False) if each.state.name != "WAITING"
        ]

    @contextmanager
    def asked(self, count: int, minutes: float | None) -> Iterator[Trial | None]:
        """A trial to make: one whose process died, or a new one; None if there is none to make.

        While the block lasts no other process takes it. It ends with :meth:`tell`, or the trial is left to
        whoever continues the search.

        Args:
            count: of trials in all.
            minutes: of trials in all.
        """
        with self.lock:
            trial = self._abandoned() or self._new(count, minutes)
        try:
            yield trial
        finally:
            if trial is not None and trial.lock is not None:
                trial.lock.release()

    def _abandoned(self) -> Trial | None:
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state.name != "RUNNING":
                continue
            held = self._lock_of(frozen.number)
            if not held.acquire(wait=False):
                continue
            attempts = frozen.user_attrs.get("attempts", 1)
            if attempts >= _ATTEMPTS:
                self._finish(frozen.number, "FAIL", None, {"reason": f"its process died {attempts} times"})
                held.release()
                continue
            return self._proposed(frozen._trial_id, attempts + 1, held)
        return None

    def _new(self, count: int, minutes: float | None) -> Trial | None:
        if room(self.trials(), count, minutes):
            return None
        trial = self._study.ask()
        held = self._lock_of(trial.number)
        held.acquire()
        return self._proposed(trial._trial_id, 1, held)

    def _proposed(self, identity: int, attempts: int, held: Lock) -> Trial:
        """A trial with a value for each dimension; those that it has already stay."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = optuna.trial.Trial(self._study, identity)
            self._study.sampler = optuna.samplers.TPESampler(seed=_hashed(self.seed, trial.number))
        trial.set_user_attr("attempts", attempts)
        own = trial.number == 0
        values = {
            each.name: _suggested(trial, each)
            for each in self.dimensions
            if not own or each.default is not None
        }
        return Trial(trial.number, "running", values, lock=held)

    def tell(self, number: int, value: float | None, **facts: Any) -> None:
        """Keep what became of a trial.

        Args:
            value: its worth, larger is better; None if the trial was ended early, or failed.
            facts: ``score``, ``interval``, ``minutes``, ``reason``, ``failed`` and whatever else is known.
        """
        state = "COMPLETE" if value is not None else "FAIL" if facts.pop("failed", False) else "PRUNED"
        with self.lock:
            self._finish(number, state, value, facts)

    def _finish(self, number: int, state: str, value: float | None, facts: Mapping[str, Any]) -> None:
        import optuna

        frozen = self._study.get_trials(deepcopy=False)[number]
        self._study._storage.set_trial_user_attr(frozen._trial_id, "facts", dict(facts))
        self._study.tell(number, value, state=optuna.trial.TrialState[state])

    def _lock_of(self, number: int) -> Lock:
        return Lock(self.folder / TRIALS / f"{number:04d}.lock")


def room(trials: Sequence[Trial], count: int, minutes: float | None) -> str:
    """Why no further trial is begun; empty if one is.

    A trial is expected to take as long as the longest so far. The first is begun in any case, and none beside
    it is limited by minutes, as nothing is known yet.

    >>> room([Trial(0, "complete", {}, minutes=2.0)], 20, 3.0)
    'the 3 minutes are used up'
    """
    if len(trials) >= count:
        return f"all {count} trials are made" if count > 1 else "the only trial is made"
    longest = max((each.minutes for each in trials), default=0.0)
    running = sum(each.state == "running" for each in trials)
    spent = sum(each.minutes for each in trials) + longest * (running + 1)
    if minutes is not None and longest and spent > minutes:
        return f"the {minutes:g} minutes are used up"
    return ""


def require_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what a search is about beside its journal, or raise a UsageError if that is another."""
    path = folder / FACTS
    if not path.exists():
        if (folder / JOURNAL).exists():
            raise UsageError(f"'{folder}' has a journal and no {FACTS}; name another folder with out=")
        about = {"version": _VERSION, "selfsup": version("selfsup"), "facts": facts}
        write_text(path, json.dumps(about, indent=1) + "\n")
        return
    try:
        before = read_json(path)
        was, of = before["facts"], before["version"]
        if not isinstance(was, dict):
            raise ValueError("its facts are no settings")
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"'{path}' was not written by a search ({shown(error, 80)}); name another folder "
                         "with out=") from error  # fmt: skip
    if of != _VERSION:
        raise UsageError(f"'{path}' is of another version of selfsup; name another folder with out=")
    now = json.loads(json.dumps(facts))
    differs = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    if differs:
        key = differs[0]
        others = f", and {len(differs) - 1} more settings differ" if len(differs) > 1 else ""
        raise UsageError(
            f"the search in '{folder}' has {key}={shown(was.get(key), 60)}, not {shown(now.get(key), 60)}"
            f"{others}; repeat its command, or name another folder with out="
        )


def _suggested(trial: Any, each: Dimension) -> Any:
    if each.choices:
        return trial.suggest_categorical(each.name, list(each.choices))
    if each.whole:
        return trial.suggest_int(each.name, int(each.low), int(each.high), log=each.log)
    return rounded(trial.suggest_float(each.name, each.low, each.high, log=each.log))


def _hashed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big")


_STATES = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def _trial(frozen: Any) -> Trial:
    facts = frozen.user_attrs.get("facts", {})
    known = {key: facts[key] for key in ("interval", "minutes", "reason") if key in facts}
    values = {name: rounded(value) for name, value in frozen.params.items()}
    rest = {key: value for key, value in facts.items() if key not in known}
    return Trial(frozen.number, _STATES[frozen.state.name], values, facts.get("score"), facts=rest, **known)
