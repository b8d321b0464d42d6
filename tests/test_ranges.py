"""Every number that can be set has a range, declared beside it and checked before anything is made."""

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfsup.commands import COMMANDS, config_name, main
from selfsup.config import _compose, _sort_overrides, config_root, load_config, options, require_types
from selfsup.errors import UsageError
from selfsup.nodes import default_at, leaves
from selfsup.ranges import parsed
from selfsup.run.folder import new_folder
from selfsup.run.resume import resumed
from selfsup.runs import read_config

INF, NAN = math.inf, math.nan
GROUPS = [
    path.name
    for path in config_root().iterdir()
    if path.is_dir() and path.name not in ("experiment", "protocols", "space")
]


def compositions() -> list[tuple[str, ...]]:
    """A command and choices for each, so that each option of each group is chosen at least once."""
    chosen = [[f"{group}={option}" for option in options(group)] for group in GROUPS]
    train = [("train", *filter(None, several)) for several in zip_longest(*chosen)]
    others: list[tuple[str, ...]] = [(config_name(command),) for command in COMMANDS]
    others += [("tune", f"space={name}") for name in options("space")]
    return [*train, *others, ("evaluate", f"protocols=[{','.join(options('protocols'))}]")]


@pytest.mark.parametrize("chosen", compositions(), ids=" ".join)
def test_every_number_has_a_range_which_its_default_lies_in(chosen: tuple[str, ...]) -> None:
    config, ranges = _compose(chosen[0], tuple(_sort_overrides(chosen[1:])[0]))
    for key in leaves(config):
        default = default_at(config, key)
        numbers = default if isinstance(default, list) else [default]
        if any(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
            assert key in ranges, f"{key} has no range: add it to 'ranges' in the file that sets it"
            assert parsed(ranges[key]).holds(default, default), key
        assert "ranges" not in key.split(".")
    # A misspelt name in a file's block would limit nothing; those of any timm model are not all there.
    assert {key for key in ranges if not key.startswith("backbone.model_args.")} <= set(leaves(config))


HOLDS: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("(0, inf)", 0.2, [1e-30, 3, 1e30], [0, -0.0, -1, NAN, INF, True, "0.1", None, [1], 2**70]),
    ("(0, inf]", 0.2, [INF], [NAN, -INF]),
    ("[0, 1)", 0.5, [0, -0.0, 0.999], [1, 1.0, -1e-9, NAN]),
    ("(0, 1]", 0.5, [1, 1e-9], [0, 1.0000001]),
    ("[1, inf)", 8, [1, 2**63 - 1], [0, 1.0, 2.5, 2**63, 10**4000, True, "3", NAN, INF]),
    ("[0, 4294967295]", 0, [0, 2**32 - 1], [-1, 2**32]),
    ("[0, 1) x 2", [0.9, 0.999], [[0, 0.5]], [[0.9], [0.9, 0.9, 0.9], [0.9, 1.0], 0.9, [], [0.9, NAN]]),
    ("[1, inf)", [20, 10], [[5], [1, 2, 3]], [[], [0], [1.5], [True], 5, ["5"]]),
    ("(0, 1] x 2 ascending", [0.2, 1.0], [[0.5, 0.5]], [[0.6, 0.5], [0, 1]]),
    ("whole [1, inf) or null", None, [None, 3], [0, 1.5, "null"]),
    ("(0, inf) or null", 3.0, [None, 0.5], [0]),
    ("(0, inf)", None, [None, 0.5], [0]),
    ("whole [1, inf) or -1 or auto or list", "auto", ["auto", -1, 4, [0, 1]], [0, "many", 1.5, [NAN], None]),
]


@pytest.mark.parametrize(("text", "default", "right", "wrong"), HOLDS)
def test_what_a_range_holds(text: str, default: Any, right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not parsed(text).holds(value, default)] == []
    assert [value for value in wrong if parsed(text).holds(value, default)] == []


@pytest.mark.parametrize(
    ("text", "default", "words"),
    [
        ("(0, inf)", 0.2, "above 0"),
        ("[0, inf)", 0.2, "from 0"),
        ("(0, 1]", 0.2, "above 0 and at most 1"),
        ("(0, 1)", 0.2, "above 0 and below 1"),
        ("[0, 1]", 0.2, "from 0 to 1"),
        ("(-inf, inf)", 0.2, "a finite number"),
        ("[1, inf)", 3, "a whole number from 1"),
        ("[0, 4294967295]", 0, "a whole number from 0 to 4294967295"),
        ("(0, inf)", [0.1], "one or more numbers above 0"),
        ("[0, 1] x 3", [0.1] * 3, "three numbers from 0 to 1"),
        ("(0, 1] x 2 ascending", [0.1, 1.0], "two numbers above 0 and at most 1 in ascending order"),
        ("whole [1, inf) or auto or list", "auto", "a whole number from 1, or auto, or a list"),
        ("[1, inf); x=false turns it off", 3, "a whole number from 1 (x=false turns it off)"),
    ],
)
def test_a_range_in_words(text: str, default: Any, words: str) -> None:
    assert parsed(text).words(default) == words


@pytest.mark.parametrize(
    "text", ["", "0, 1", "(0 1)", "(0, 1) x", "(0, 1) or", "positive", "[1, x)", "[, 1]"]
)
def test_a_range_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|float"):
        parsed(text)


@pytest.mark.parametrize(
    ("command", "overrides", "sentence"),
    [
        ("train", "method=simclr method.temperature=0", "method.temperature is 0; it has to be above 0"),
        ("train", "method=simclr method.temperature=nan", "method.temperature is nan; it has to be above 0"),
        ("train", "method=mae method.mask_ratio=75", "mask_ratio is 75; it has to be above 0 and below 1"),
        ("train", "method.optimizer.betas=[1.0,0.9]", "betas is [1.0, 0.9]; it has to be two numbers from 0"),
        ("train", "method.optimizer.clip=-1", "clip is -1; it has to be above 0, or null"),
        ("train", "seed=-1", "seed is -1; it has to be a whole number from 0 to 4294967295"),
        ("train", f"trainer.max_steps={2**70}", "303424; it has to be below 9223372036854775808"),
        ("train", f"batch_size={'9' * 5000}", "has more digits than any setting allows"),
        ("train", "batch_size=1,2", "'batch_size=1,2' gives several values; give one"),
        ("train", "data.std=[0.1,0]", "data.std is [0.1, 0]; it has to be one or more numbers above 0"),
        ("train", "data=fractals data.source.length=0", "data.source.length is 0; it has to be a whole"),
        ("train", "data.workers=-1", "data.workers is -1; it has to be a whole number from 0 to 1024, or"),
        ("train", "backbone=vit_mini backbone.model_args.drop_path_rate=2", "drop_path_rate is 2; it has"),
        ("train", "backbone=convnext_atto backbone.model_args.any=nan", "any is nan; it has to be a finite"),
        ("train", "method=dino data.min_area=0.9", "views.small.scale is [0.9, 0.7] (from data.min_area, "),
        ("train", "views=moco views.each.count=-1", "views.each.count is -1; it has to be a whole number"),
        ("views-command", "images=0", "images is 0; it has to be a whole number from 1"),
        ("views-command", "batch_size=0", "batch_size is 0; it has to be a whole number from 1"),
        ("evaluate", "encoder=x cache_gb=0", "cache_gb is 0; it has to be above 0"),
        ("evaluate", "encoder=x seed=-1", "seed is -1; it has"),
        (
            "evaluate",
            "encoder=x protocols=knn protocols.knn.k=[0]",
            "protocols.knn.k is [0]; it has to be one",
        ),
        (
            "evaluate",
            "encoder=x protocols=finetune protocols.finetune.plan.each.scale=[0,1]",
            "scale is [0, 1]",
        ),
        ("embed", "encoder=x batch_size=0", "batch_size is 0; it has"),
        ("search", "encoder=x query=y k=0", "k is 0; it has to be a whole number from 1"),
        ("report", "gflops=inf", "gflops is inf; it has to be above 0"),
    ],
)
def test_what_lies_outside_is_told_when_composing(command: str, overrides: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(command, overrides.split())
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    if "seed" in overrides:  # the setting itself, not one that refers to it
        assert str(caught.value).startswith("seed is")


def test_whole_numbers_are_floats_where_the_default_is_one() -> None:
    """A tensor made of [0, 0, 0] would hold integers, and AdamW refuses whole numbers as its betas."""
    config = load_config("train", ["data.mean=[0,0,0]", "data.mirror=1", "method.optimizer.betas=[0,0.5]"])
    assert [type(each) for each in config["data"]["mean"]] == [float] * 3
    assert config["method"]["optimizer"]["betas"] == [0.0, 0.5]
    assert type(config["method"]["optimizer"]["betas"][0]) is float
    assert type(config["views"]["first"]["mirror"]) is float  # which refers to the data's
    assert type(config["batch_size"]) is int
    config["data"]["mean"] = [0, 0, 0]
    require_types("train", config)
    assert [type(each) for each in config["data"]["mean"]] == [float] * 3


@pytest.mark.parametrize("given", ["ranges.batch_size=(-inf, inf)", "method.ranges.lambda_=1", "ranges={}"])
def test_ranges_are_no_settings(given: str) -> None:
    with pytest.raises(UsageError, match=r"no setting '(method\.)?ranges"):
        load_config("train", [given])


def test_ranges_are_neither_saved_nor_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ranges" not in str(load_config("train", ["method=dino", "data=fractals"]))
    for command in COMMANDS:
        chosen = ["method=mae", "data=fractals"] if command == "train" else []
        assert main([command, *chosen, "--help"]) == 0
        assert "ranges" not in capsys.readouterr().out
    assert main(["completion"]) == 0
    assert "ranges" not in capsys.readouterr().out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = load_config("train", [f"out={tmp_path}", "method=simclr", "data=fractals", "views=moco"])
    folder = new_folder(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method.temperature", 0),
        ("method.temperature", NAN),
        ("method.optimizer.betas", [0.9]),
        ("method.optimizer.clip", -1),
        ("data.length", 0),
        ("data.source.length", -1),
        ("views.each.scale", [0.5, 0.2]),
        ("backbone.model_args.depth", -1),
        ("backbone.model_args.drop_path_rate", 1.5),
        ("seed", 2**70),
        ("guard.every", 0),
        ("trainer.accumulate_grad_batches", 0),
    ],
)
def test_a_strangers_run_is_looked_at_as_well(run: Path, key: str, value: Any) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *groups, last = key.split(".")
    inside = config
    for group in groups:
        inside = inside[group]
    inside[last] = value
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(
        UsageError, match=rf"{key} is .*; it has to be|number that is too large for a"
    ) as caught:
        read_config(run, "from")
    assert "\n" not in str(caught.value)


def test_a_run_from_before_there_were_ranges_goes_on(run: Path) -> None:
    before = yaml.safe_load((run / "config.yaml").read_text())
    after = resumed(load_config("train", [f"resume={run}"]))
    assert after == before | {"resume": str(run.resolve())}
