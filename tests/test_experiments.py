"""``experiment=FILE.yaml``: a user's own settings, which may be a stranger's."""

from pathlib import Path

import pytest

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.experiments import as_override, expanded


def written(folder: Path, text: str) -> str:
    path = folder / "own.yaml"
    path.write_text(text)
    return f"experiment={path}"


def test_a_file_means_what_one_of_ours_means(tmp_path: Path) -> None:
    ours = (Path(__file__).parents[1] / "configs" / "experiment" / "digits_simclr.yaml").read_text()
    own, shipped = (
        load_config("train", [each]) for each in (written(tmp_path, ours), "experiment=digits_simclr")
    )
    assert {**own, "overrides": []} == {**shipped, "overrides": []}


def test_the_command_wins_and_a_file_can_build_on_another(tmp_path: Path) -> None:
    text = "defaults: [digits_byol, {override /optimizer@method.optimizer: sgd}, _self_]\nbatch_size: 16\n"
    config = load_config("train", ["batch_size=8", written(tmp_path, text)])
    assert config["batch_size"] == 8
    assert (config["method"]["name"], config["method"]["optimizer"]["name"]) == ("byol", "sgd")
    assert config["data"]["image_size"] == 16
    # So a resumed run sees what was set, wherever the file is by then.
    assert "batch_size=16" in config["overrides"]
    assert not any("own.yaml" in each for each in config["overrides"])


@pytest.mark.parametrize(
    "value", [None, True, 3, -0.5, 1e-05, "sgd", "true", "12", "a b", "it's", "x=[1]", "c:\\d", [1, "a,b"]]
)
def test_every_plain_value_survives(tmp_path: Path, value: object) -> None:
    import yaml

    text = yaml.safe_dump({"backbone": {"model_args": {"key": value}}})
    config = load_config("train", [written(tmp_path, text)])
    assert config["backbone"]["model_args"]["key"] == value
    assert as_override(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method: [", "it is damaged"),
        ("- 1", "is not a configuration"),
        ("defaults: 3", "its defaults are no list"),
        ("defaults: [{a: b, c: d}]", "its defaults hold"),
        ("defaults: [{override /method: 3}]", "its defaults hold"),
        ("defaults: [{override /method: simklr}]", "no method 'simklr'; did you mean 'simclr'"),
        ("batch_sise: 3", "no setting 'batch_sise'"),
        ("batch_size: 0", "batch_size is 0; it has to be a whole number from 1"),
        ("data: {source: {_target_: os.system}}", r"data\.source\._target_ names code"),
        ("data: {decode: 'os:system'}", r"data\.decode names code"),
        ("out: '${oc.env:HOME}'", "out calls a resolver"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_config("train", [written(tmp_path, text)])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        expanded([f"experiment={tmp_path / 'none.yaml'}"])
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UsageError, match="it cannot be read"):
        expanded([f"experiment={tmp_path / 'folder.yaml'}"])
