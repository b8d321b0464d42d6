"""What a search found, and the file that trains it."""

from pathlib import Path

import pytest
import yaml

from selfsup.config import load_config
from selfsup.tuning.found import experiment, found, verdict
from selfsup.tuning.space import settings
from selfsup.tuning.study import Trial


def scored(number: int, value: float, told: str = "") -> Trial:
    return Trial(number, "complete", {"crop": 0.2}, value, facts={"told": told} if told else {})


def test_the_difference_is_paired_over_images() -> None:
    # Every image is told a little better, though images differ far more among themselves than that.
    first, best = scored(0, 0.5, "01230123012301230123"), scored(1, 0.75, "12341234123412341234")
    outcome = found([first, best], "rotation")
    assert outcome is not None
    assert outcome.interval == pytest.approx((0.25, 0.25))
    assert outcome.sure
    assert "has a better rotation accuracy than the settings as they are: +0.25" in verdict(
        outcome, "rotation"
    )


def test_a_difference_within_its_interval_is_not_called_better() -> None:
    outcome = found([scored(0, 0.5, "2222222222"), scored(1, 0.55, "4040404033")], "rotation")
    assert outcome is not None
    assert not outcome.sure
    assert "is not surely better" in verdict(outcome, "rotation")


def test_images_that_no_fold_judged_do_not_count() -> None:
    outcome = found([scored(0, 0.5, "222222.."), scored(1, 0.75, "333333..")], "rotation")
    assert outcome is not None
    assert outcome.interval == pytest.approx((0.25, 0.25))


def test_a_score_without_interval_is_said_to_have_none() -> None:
    outcome = found([scored(0, 20.0), scored(1, 30.0)], "rankme")
    assert outcome is not None
    assert not outcome.sure
    assert "whether that is more than chance is not known" in verdict(outcome, "rankme")


def test_the_best_exponent_is_the_one_nearest_one() -> None:
    outcome = found([scored(0, 1.4), scored(1, 0.9), scored(2, 2.0), scored(3, 0.1)], "alpha-req")
    assert outcome is not None
    assert outcome.best.number == 1


def test_settings_as_they_are_may_be_best_also_with_a_tie() -> None:
    outcome = found([scored(0, 0.5), scored(1, 0.5), Trial(2, "failed", {})], "rotation")
    assert outcome is not None
    assert outcome.best is outcome.first
    assert "keep them" in verdict(outcome, "rotation")
    assert found([Trial(0, "failed", {}), scored(1, 0.5)], "rotation") is None


COMMAND = [
    "experiment=digits_simclr",
    "optimizer=sgd",
    "auxiliary=[koleo]",
    "data.image_size=24",
    "method.projector.hidden=64",
    "seed=3",
    "trials=9",
    "out=a",
    "space.method.temperature=[0.1,0.5]",
]


def test_the_file_trains_what_was_found(tmp_path: Path) -> None:
    config = load_config("tune", COMMAND)
    values = {"crop": 0.5, "method.temperature": 0.3}
    text = experiment(COMMAND, config, settings(values, config), ["A comment."])
    assert text.startswith("# @package _global_\n# A comment.\n")
    path = tmp_path / "tuned.yaml"
    path.write_text(text)
    made = load_config("train", [f"experiment={path}"])
    own = [
        each
        for each in COMMAND
        if each.partition("=")[0] not in ("seed", "trials", "out") and "space" not in each
    ]
    asked = load_config("train", own, values={"views.each.scale": [0.5, 1.0], "method.temperature": 0.3})
    assert {**made, "overrides": []} == {**asked, "overrides": []}
    # Only what differs from the default, and no seed, as it is to be trained with a fresh one.
    assert set(yaml.safe_load(text)) == {"defaults", "data", "method", "views"}
