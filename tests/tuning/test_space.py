"""What is searched: ranges and choices as they are typed, and the settings that values stand for."""

import math
from typing import Any

import pytest

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.tuning.space import WORDS, Dimension, dimension, dimensions, settings


def of(overrides: list[str]) -> tuple[dict[str, Any], list[Dimension]]:
    config = load_config("tune", overrides)
    typed = {each.partition("=")[0] for each in overrides}
    return config, dimensions(config["space"], config, lambda name: f"space.{name}" in typed)


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        ([0, 0.8], 0.4, Dimension("a", 0, 0.8, default=0.4)),
        ([0.1, 0.5, "log"], 0.2, Dimension("a", 0.1, 0.5, log=True, default=0.2)),
        ([16, 128, "log"], 64, Dimension("a", 16, 128, log=True, whole=True, default=64)),
        ([1, 4], 0.5, Dimension("a", 1, 4, default=None)),  # the default lies outside
        ([10, 30], None, Dimension("a", 10, 30, whole=True)),  # of a setting that has none
        ([32, 64, 128], 64, Dimension("a", choices=(32, 64, 128), default=64)),
        (["x", "y"], "z", Dimension("a", choices=("x", "y"))),
        ([True, False], True, Dimension("a", choices=(True, False), default=True)),
    ],
)
def test_a_range_or_choices(given: Any, default: Any, expected: Dimension) -> None:
    assert dimension("a", given, default) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (0.5, "is no range"),
        ([0.5], "is no range"),
        ([0.8, 0.2], "the first has to be below the second"),
        ([0.0, math.inf], "the first has to be below the second"),
        ([0, 1, "log"], "the first has to be above 0"),
        (["a", "b", "log"], "log after two numbers only"),
        (["a", "a"], "give each once"),
        ([[0, 1], [0, 2]], "choices are numbers, texts"),
    ],
)
def test_what_is_no_range_is_refused(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        dimension("a", given, 0.5)


def test_colour_grey_and_blur_scale_each_view_by_itself() -> None:
    config, _ = of(["method=byol", "data=folder", "data.root=x"])
    found = settings({"colour": 0.5, "grey": 2.0, "blur": 3.0}, config)
    assert found["views.first.brightness"] == 0.2
    assert found["views.second.hue"] == 0.05
    assert found["views.first.grey"] == 0.4
    # A probability is 1 at most, and the ratio of BYOL's two views is kept below.
    assert (found["views.first.blur"], found["views.second.blur"]) == (1.0, 0.3)
    assert settings({"colour": 10.0}, config)["views.first.hue"] == 0.5
    ones = settings(dict.fromkeys(("colour", "grey", "blur"), 1.0), config)
    for key, value in ones.items():  # as they are
        _, kind, setting = key.split(".")
        assert value == pytest.approx(config["views"][kind][setting], rel=1e-3)


def test_crop_is_that_of_the_smallest_crops_and_leaves_their_largest() -> None:
    config, space = of(["method=dino"])
    assert settings({"crop": 0.2}, config) == {"views.small.scale": [0.2, config["data"]["split_area"]]}
    (crop,) = (each for each in space if each.name == "crop")
    assert crop.low <= config["data"]["min_area"] <= crop.high < config["data"]["split_area"]
    config, _ = of(["method=jepa"])  # whose crops are not the data's
    assert settings({"crop": 0.5}, config) == {"views.each.scale": [0.5, 1.0]}


def test_elements_of_one_list_are_set_together() -> None:
    config, _ = of(["method=mae"])
    found = settings({"method.optimizer.betas.0": 0.8, "method.optimizer.betas.1": 0.99}, config)
    assert found == {"method.optimizer.betas": [0.8, 0.99]}


# A method for each plan of views, and for each way to mask.
METHODS = ["simclr", "byol", "dino", "swav", "msn", "ressl", "diet", "mae", "jepa", "ibot", "data2vec"]


@pytest.mark.parametrize("method", METHODS)
def test_the_shipped_space_fits_a_method_at_both_ends(method: str) -> None:
    data = ["data=folder", "data.root=x"]
    config, space = of([f"method={method}", *data])
    assert "crop" in [each.name for each in space]
    for end in (0, -1):
        values = settings({each.name: each.ends()[end] for each in space}, config)
        load_config("train", [f"method={method}", *data], values=values)
    coloured = bool(config["data"]["colour"]) and any(
        isinstance(view, dict) and view["brightness"] for view in config["views"].values()
    )
    assert ("colour" in [each.name for each in space]) == coloured


def test_what_a_method_does_not_have_is_left_out_unless_it_was_typed() -> None:
    assert [each.name for each in of(["method=mae"])[1]] == ["crop", "method.mask_ratio"]
    # Digits are not jittered, and whoever searches its strength means something else.
    with pytest.raises(UsageError, match=r"space\.colour: these views have none"):
        of(["method=simclr", "space.colour=[0,2]"])
    with pytest.raises(UsageError, match="nothing to search"):
        of(["method=simclr", "space=none"])
    assert {"crop", "colour", "grey", "blur"} == set(WORDS)
