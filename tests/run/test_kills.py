"""A run that is killed at any moment and resumed is, bit for bit, the run that was not."""

from pathlib import Path

import pytest

from benchmarks.robustness import kills

# One without state of its own, one with a teacher and a centre, one with a queue. That all methods go on from
# their state is for the methods' tester, without processes.
METHODS = ("barlow", "dino", "moco")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    kills.make_photos(folder)
    return folder


def settings(photos: Path, *more: str) -> list[str]:
    return [f"data.root={photos}", *kills.SMALL, f"trainer.max_steps={kills.STEPS}", *more]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_while_it_trains(method: str, tmp_path: Path, photos: Path) -> None:
    given = settings(photos, f"method={method}", "evaluate=false")
    kills.kill_and_resume(tmp_path, "straight", given, [])
    # Over the methods, each moment has its turn.
    number = METHODS.index(method)
    moments = list(kills.WHILE_TRAINING[number :: len(METHODS)])
    # First, as a run that is nearly over has all its images already.
    moments.sort(key=lambda moment: moment is not kills.in_a_worker)
    for moment, told in zip(
        moments, kills.kill_and_resume(tmp_path, "killed", given, moments, seed=number), strict=True
    ):
        assert told["exit"] == (1 if moment is kills.in_a_worker else -9)
        assert told["lost"] <= 2  # a step, and the one that is made while its checkpoint is written
    assert kills.differences(tmp_path / "straight", tmp_path / "killed") == []


def test_a_run_killed_when_it_hands_over(tmp_path: Path, photos: Path) -> None:
    given = settings(photos, "method=simclr", "trainer.max_steps=2")
    kills.kill_and_resume(tmp_path, "straight", given, [])
    order = (kills.while_saving_the_encoder, kills.during_the_evaluation, kills.before_the_results_are_noted)
    told = kills.kill_and_resume(tmp_path, "killed", given, order)
    assert [each["exit"] for each in told] == [-9, -9, -9]
    assert kills.differences(tmp_path / "straight", tmp_path / "killed") == []
