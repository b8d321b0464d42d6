"""A search survives kills, cut journals and other processes, and refuses to be another search."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selfsup.errors import UsageError
from selfsup.lock import Lock
from selfsup.tuning.space import Dimension
from selfsup.tuning.study import FACTS, JOURNAL, TRIALS, Study, Trial, room
from selfsup.tuning.trials import search

SPACE = [
    Dimension("x", 0.0, 1.0, default=0.9),
    Dimension("n", 1, 5, whole=True, default=2),
    Dimension("c", choices=("a", "b")),
]
ABOUT = {"method": "simclr"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut comes in between: a journal is flushed to the disk with every line."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def worth(values: Mapping[str, Any]) -> float:
    return -((values["x"] - 0.3) ** 2) - 0.1 * (values["n"] - 3) ** 2


def outcome(trial: Trial) -> dict[str, Any]:
    return {"value": worth(trial.values), "score": worth(trial.values), "minutes": 1.0}


def opened(folder: Path, seed: int = 0) -> Study:
    return Study(folder, SPACE, ABOUT, seed)


class Killed(Exception):
    pass


def stopped_after(trials: int) -> Any:
    """Makes so many trials, and dies in the next."""
    made: list[int] = []

    def trial(asked: Trial) -> dict[str, Any]:
        if len(made) == trials:
            raise Killed
        made.append(asked.number)
        return outcome(asked)

    return trial


def test_the_first_trial_has_the_settings_as_they_are(tmp_path: Path) -> None:
    search(opened(tmp_path), outcome, 3, None)
    first, *others = opened(tmp_path).trials()
    assert first.values == {"x": 0.9, "n": 2}  # c is as it is, which is neither choice
    assert all(set(each.values) == {"x", "n", "c"} for each in others)
    assert [each.value for each in opened(tmp_path).trials()] == [
        worth(each.values) for each in [first, *others]
    ]


def test_a_search_that_is_killed_goes_on_as_one_that_was_not(tmp_path: Path) -> None:
    search(opened(tmp_path / "whole"), outcome, 14, None)
    for trials in (0, 4, 7):
        with pytest.raises(Killed):
            search(opened(tmp_path / "killed"), stopped_after(trials), 14, None)
    search(opened(tmp_path / "killed"), outcome, 14, None)
    whole, killed = (opened(tmp_path / name).trials() for name in ("whole", "killed"))
    assert killed == whole
    values = [json.dumps(each.values) for each in whole]
    assert len(set(values)) == 14
    # It searches: the later trials are better than the first ten, which are drawn at random.
    assert max(worth(each.values) for each in whole[10:]) > -0.05


def test_another_seed_proposes_other_values(tmp_path: Path) -> None:
    for seed in (0, 1):
        search(opened(tmp_path / str(seed), seed), outcome, 3, None)
    one, other = (opened(tmp_path / str(seed), seed).trials()[1].values for seed in (0, 1))
    assert one != other


def test_a_cut_journal_is_mended(tmp_path: Path) -> None:
    search(opened(tmp_path), outcome, 3, None)
    before = opened(tmp_path).trials()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    assert opened(tmp_path).trials() == before
    search(opened(tmp_path), outcome, 5, None)
    assert len(opened(tmp_path).trials()) == 5


def test_a_trial_whose_process_dies_twice_has_failed(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Killed):
            search(opened(tmp_path), stopped_after(0), 3, None)
    search(opened(tmp_path), outcome, 3, None)
    first, *others = opened(tmp_path).trials()
    assert (first.state, first.reason) == ("failed", "its process died 2 times")
    assert [each.state for each in others] == ["complete", "complete"]


def test_a_trial_belongs_to_one_process_as_long_as_a_child_of_it_lives(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with study.asked(5, None) as mine:
        assert mine is not None
        assert mine.number == 0
        assert mine.lock is not None
        assert mine.lock.file is not None
        sleeper = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[mine.lock.file.fileno()]
        )
    with opened(tmp_path).asked(5, None) as other:
        assert other is not None
        assert other.number == 1
        sleeper.communicate(b"\n")
        with opened(tmp_path).asked(5, None) as taken_up:
            assert taken_up is not None
            assert taken_up.number == 0
            assert taken_up.values == mine.values


def test_processes_share_the_trials(tmp_path: Path) -> None:
    made: list[int] = []

    def trial(asked: Trial) -> dict[str, Any]:
        made.append(asked.number)
        return outcome(asked)

    studies = [opened(tmp_path) for _ in range(3)]
    threads = [threading.Thread(target=search, args=(study, trial, 12, None)) for study in studies]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(made) == list(range(12))
    found = opened(tmp_path).trials()
    assert {each.state for each in found} == {"complete"}
    assert len({json.dumps(each.values) for each in found}) == 12


def test_trials_that_end_early_and_fail_are_told_apart(tmp_path: Path) -> None:
    def trial(asked: Trial) -> dict[str, Any]:
        if asked.number == 1:
            return {"value": None, "reason": "stopped at step 3: collapse"}
        if asked.number == 2:
            return {"value": None, "failed": True, "reason": "no"}
        return outcome(asked)

    search(opened(tmp_path), trial, 4, None)
    found = opened(tmp_path).trials()
    assert [each.state for each in found] == ["complete", "pruned", "failed", "complete"]
    assert found[1].reason == "stopped at step 3: collapse"


def test_minutes_end_a_search_between_trials(tmp_path: Path) -> None:
    search(opened(tmp_path), outcome, 100, 4.5)
    trials = opened(tmp_path).trials()
    assert len(trials) == 4
    assert room(trials, 100, 4.5) == "the 4.5 minutes are used up"
    search(opened(tmp_path), outcome, 100, 6.0)  # and go on with more
    assert len(opened(tmp_path).trials()) == 6
    # What runs elsewhere takes as long as the longest.
    running = [Trial(0, "complete", {}, minutes=2.0), Trial(1, "running", {})]
    assert room(running, 9, 5.9)
    assert not room(running, 9, 6.1)


def test_another_search_is_refused(tmp_path: Path) -> None:
    Study(tmp_path, SPACE, {"method": "simclr", "score": "rotation", "seed": 0}, 0)
    with pytest.raises(UsageError, match="has method=simclr, not byol; repeat its command"):
        Study(tmp_path, SPACE, {"method": "byol", "score": "rotation", "seed": 0}, 0)
    with pytest.raises(UsageError, match="score=rotation, not rankme, and 1 more settings differ"):
        Study(tmp_path, SPACE, {"method": "simclr", "score": "rankme"}, 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (FACTS, "{", "was not written by a search"),
        (FACTS, "[]", "was not written by a search"),
        (FACTS, '{"version": 1, "facts": 3}', "was not written by a search"),
        (FACTS, '{"version": 99, "facts": {}}', "of another version"),
        (JOURNAL, '{"op_code": 0}\n', "is damaged"),
        (JOURNAL, "no JSON\n\n", "is damaged"),
        (JOURNAL, '{"op_code": 77, "worker_id": "a"}\n', "is damaged"),
        (JOURNAL, "[1]\n", "is damaged"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    opened(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        opened(tmp_path)


def test_a_journal_without_its_facts_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / FACTS).unlink()
    with pytest.raises(UsageError, match=f"has a journal and no {FACTS}"):
        opened(tmp_path)


def test_a_lock_is_free_once_its_holder_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "from selfsup.lock import Lock; from pathlib import Path; import os, sys;"
        "Lock(Path(sys.argv[1])).acquire(); os._exit(1)"
    )
    mine = Lock(path)
    assert mine.acquire()
    assert not Lock(path).acquire(wait=False)
    mine.release()
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert Lock(path).acquire(wait=False)
    assert TRIALS
