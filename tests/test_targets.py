"""Nothing is called that no configuration of ours names and the user did not type, however it is written."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.settings import data_config
from selfsup.errors import UsageError
from selfsup.targets import load_target, our_targets, typed

called: list[str] = []


def evil(*_: Any, **__: Any) -> Any:
    called.append("evil")
    raise UsageError("called")


EVIL = f"{__name__}.evil"


def test_every_configuration_names_what_can_be_had() -> None:
    for group in ("data", "method"):
        assert all(callable(load_target(name, group, "it")) for name in our_targets(group))
    assert not our_targets("data") & our_targets("method")


@pytest.mark.parametrize(
    "name", ["os.system", "selfsup.files.remove_parts", ["os.system"], {"a": 1}, None, 3]
)
def test_others_are_refused_in_a_sentence(name: Any) -> None:
    for group in ("data", "method"):
        with pytest.raises(UsageError, match="which no configuration of selfsup does"):
            load_target(name, group, "setting")
    with pytest.raises(UsageError, match="would call"):  # a method is no source of images
        load_target("selfsup.methods.mae.MAE", "data", "setting")


def test_what_the_command_names_is_called_and_nothing_later(capsys: pytest.CaptureFixture[str]) -> None:
    called.clear()
    assert main(["train", f"data.source._target_={EVIL}"]) == 2
    assert called == ["evil"]
    with pytest.raises(UsageError, match=f"would call {EVIL}"):
        load_data(load_config("train", [f"data.source._target_={EVIL}"])["data"])
    assert called == ["evil"]
    with typed({"data": {"sources": {"a": {"source": {"_target_": EVIL}}}}}):
        assert load_target(EVIL, "data", "setting") is evil


TEXTS = (
    f"{{_target_: {EVIL}}}",
    f"'{{_target_: {EVIL}}}'",
    {"_target_": EVIL},
    {"_target_": [EVIL]},
    {"_target_": {"_target_": EVIL}},
    {"_target_": f"${{oc.create:{EVIL}}}"},
    {"_target_": "selfsup.data.mixture", "sources": {"digits": {"weight": 1, "source": {"_target_": EVIL}}}},
)


@pytest.mark.parametrize("source", TEXTS)
def test_a_strangers_run_calls_nothing_whatever_way_it_is_written(
    source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("train", ["data=mixture", "evaluate=false", "trainer.max_steps=1"])
    both = {"digits": {"weight": 1, "source": source}, "more": {"data": "digits", "weight": 1}}
    config["data"]["sources"] = config["data"]["source"]["sources"] = both
    config["overrides"] = [f"data.source._target_={EVIL}"]  # a stranger's list is not what was typed
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    called.clear()
    for given in ("from=run", "resume=run"):
        assert main(["train", given]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["report", "run", "device=cpu"]) == 0
    assert called == []


@pytest.mark.parametrize("function", [EVIL, EVIL.replace(".evil", ":evil")])
def test_a_strangers_run_decodes_nothing(
    function: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for i in range(3):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(b"x")
    config = load_config(
        "train", ["data=folder", "data.root=images", "evaluate=false", "trainer.max_steps=1"]
    )
    config["data"]["decode"] = function
    config["overrides"] = [f"data.decode={function}"]  # a stranger's list is not what was typed
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    called.clear()
    for given in ("from=run", "resume=run"):
        assert main(["train", given]) == 2
        assert f"would call {function} (data.decode)" in capsys.readouterr().err
    assert main(["report", "run", "device=cpu"]) == 0
    assert called == []


def test_a_strangers_text_refers_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "secret")
    odd = r"a\${oc.env:SECRET}"
    for text in ("${oc.env:SECRET}", "${..name}", odd, "{a: 1}", "[1]", "null", "'x'", "a=b"):
        assert data_config("folder", {"weight": 1, "root": text})["source"]["root"] == text
        data = load_config("evaluate", ["encoder=run"], {"name": text, "source": {"root": text}})["data"]
        assert data == {"name": text, "source": {"root": text}}
