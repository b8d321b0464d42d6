"""How long a run is: what counts as short is by the recorded runs, and the setting offered is enough."""

import re
from collections import defaultdict
from functools import cache
from statistics import mean

import pytest

from benchmarks.rows import read
from selfsup.callbacks.length import IMAGES, STEPS, duration, length, timed_at
from selfsup.config import load_config

SUITES = ("digits", "cifar10-cpu", "cifar10-short")


@cache
def batch_size(suite: str, method: str) -> int:
    config = load_config("train", [f"experiment={suite.replace('-', '_')}_{method}"])
    return int(config["batch_size"])


def recorded() -> list[tuple[int, int, float, float]]:
    """Of each suite and method: steps, images seen, the gain over the best control, and its uncertainty."""
    runs = defaultdict(list)
    for record in (record for suite in SUITES for record in read(suite)):
        batch = batch_size(record["suite"], record["method"])
        rows = {row["role"]: row["scores"]["linear"] for row in record["results"]["rows"]}
        runs[record["suite"], record["method"]].append((record["results"]["steps"], batch, rows))
    found = []
    for seeds in runs.values():
        steps, batch, _ = seeds[0]
        value = {role: mean(rows[role]["value"] for _, _, rows in seeds) for role in seeds[0][2]}
        low, high = seeds[0][2]["encoder"]["interval"]
        gain = value.pop("encoder") - max(value.values())
        found.append((steps, steps * batch, gain, (high - low) / 2 / len(seeds) ** 0.5))
    return found


def test_recorded_runs_of_that_length_learned_and_not_all_shorter_ones_did() -> None:
    long = [run for run in recorded() if run[0] >= STEPS]
    assert len(long) >= 10
    assert all(gain >= 0 for _, _, gain, _ in long)
    assert min(steps for steps, *_ in long) == STEPS
    assert min(seen for _, seen, *_ in long) == IMAGES
    assert any(gain < uncertain for steps, _, gain, uncertain in recorded() if steps < STEPS)


@pytest.mark.parametrize(
    ("steps", "an_epoch", "batch", "images", "by_steps", "setting"),
    [
        (36, 2, 128, 322, False, "trainer.max_epochs=500"),
        (180, 10, 128, 1297, False, "trainer.max_epochs=100"),
        (36, 2, 128, 322, True, "trainer.max_steps=1000"),
        (999, 7, 64, 450, False, "trainer.max_epochs=143"),
        (2898, 161, 2, 322, False, "trainer.max_epochs=199"),  # of two images each
        (2000, 7812, 128, 1_000_000, True, "trainer.max_steps=7812"),  # a quarter of the images
    ],
)
def test_a_short_run_names_the_setting_that_is_enough(
    steps: int, an_epoch: int, batch: int, images: int, by_steps: bool, setting: str
) -> None:
    said = length(steps, an_epoch, batch, images, by_steps)
    assert said.startswith(f"{steps:,} optimizer steps; short for learning from {images:,} images")
    assert said.endswith(f", {setting}")
    given = int(re.findall(r"\d+$", setting)[0])
    enough = given if by_steps else given * an_epoch
    assert "short" not in length(enough, an_epoch, batch, images, by_steps)
    assert "short" in length(enough - an_epoch, an_epoch, batch, images, by_steps)


def test_a_long_run_is_not_told_off() -> None:
    assert length(140_616, 7812, 128, 1_000_000, False) == "140,616 optimizer steps, 18 epochs"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (7_170, "2 h 0 min"), (172_799, "2 days 0 h")],
)
def test_a_time_rounds_to_whole_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_run_is_timed_early_whatever_its_length() -> None:
    assert [timed_at(steps) for steps in (10, 300, 1_000, 100_000)] == [6, 6, 20, 50]
