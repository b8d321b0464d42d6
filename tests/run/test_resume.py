"""A run can be taken up from any checkpoint, made longer, and repeated; what cannot be is a sentence."""

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks.robustness import kills
from selfsup.callbacks.checkpoint_files import checkpoint_path, checkpoints, read_checkpoint, step_of
from selfsup.commands import main
from selfsup.config import load_config, options
from selfsup.report.folder import read_run
from selfsup.runs import require_complete
from selfsup.views import view_kinds

STEPS = 6


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint of every step; an epoch has 4."""
    out = tmp_path_factory.mktemp("runs")
    kills.make_photos(out / "photos")
    given = [f"data.root={out / 'photos'}", *kills.SMALL, f"trainer.max_steps={STEPS}", "evaluate=false"]
    given += ["trainer.checkpoints_kept=99", "data.workers=0", "method=dino"]
    assert main(["train", f"out={out}", "name=straight", *given]) == 0
    return out / "straight"


def cut(straight: Path, to: Path, step: int) -> Path:
    """The run as it was when its checkpoint of ``step`` was the newest."""
    shutil.copytree(straight, to)
    shutil.rmtree(to / "encoder")
    for path in checkpoints(to):
        if step_of(path) > step:
            path.unlink()
    return to


def resume(folder: Path, *given: str) -> int:
    return main(["train", f"resume={folder}", *given])


@pytest.mark.parametrize("step", [0, 1, 4, 5, 6])  # none, within an epoch, its end, in the next, the run's
def test_from_any_checkpoint(step: int, straight: Path, tmp_path: Path) -> None:
    folder = cut(straight, tmp_path / "cut", step)
    assert resume(folder) == 0
    assert kills.differences(straight, folder) == []


@pytest.mark.parametrize("schedule", options("schedule"))
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_whichever_schedule_and_optimizer_it_has_its_settings_are_whole(
    schedule: str, optimizer: str
) -> None:
    require_complete(load_config("train", [f"schedule={schedule}", f"optimizer={optimizer}"]))


def test_a_damaged_checkpoint_is_passed_over(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 5)
    whole = checkpoint_path(folder, 5).read_bytes()
    checkpoint_path(folder, 5).write_bytes(whole[: len(whole) // 2])
    changed = bytearray(checkpoint_path(folder, 4).read_bytes())
    changed[len(changed) // 2] ^= 1
    checkpoint_path(folder, 4).write_bytes(changed)
    assert resume(folder) == 0
    said = capsys.readouterr().out
    assert f"{checkpoint_path(folder, 5)} is damaged (File is not a zip file)" in said
    assert f"{checkpoint_path(folder, 4)} is damaged (its record" in said
    assert f"continuing from {checkpoint_path(folder, 3)}" in said
    assert kills.differences(straight, folder) == []


def test_only_damaged_checkpoints(straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cut(straight, tmp_path / "cut", 2)
    for path in checkpoints(folder):
        path.write_bytes(b"")
    assert resume(folder) == 2
    assert "all 2 checkpoints" in capsys.readouterr().err


def test_a_longer_run_says_what_becomes_of_its_schedule(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    assert resume(folder, "trainer.max_steps=7") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "changed: trainer.max_steps 6 -> 7" in said
    assert "the run is now 7 steps long instead of 6: its schedules are stretched" in said
    # It holds for the next start, too.
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_steps"] == 7
    rows = kills.metrics(folder)
    assert [int(row["step"]) for row in rows] == list(range(1, 8))
    starts = json.loads((folder / "environment.json").read_text())["starts"]
    assert len(starts) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [("trainer.max_steps=3", "has made 4 steps already"), ("trainer.devices=2", "trained by 1 processes")],
)
def test_what_makes_no_sense_is_refused(
    given: str, words: str, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    more = ["trainer.sync_batchnorm=false"] if "devices" in given else []
    before = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(
        yaml.safe_dump(before | {"trainer": before["trainer"] | {"sync_batchnorm": not more}})
    )
    assert resume(folder, given) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("method=simclr", "method cannot change when a run is resumed (dino -> simclr)"),
        (
            "method=dino method.center_momentum=0.5",
            "method.center_momentum cannot change when a run is resumed (0.9 -> 0.5)",
        ),
        ("backbone=resnet18", "backbone cannot change"),
        ("data=digits", "data cannot change when a run is resumed (folder -> digits)"),
        (
            "data=folder data.root=PHOTOS data.image_size=28",
            "data.image_size cannot change when a run is resumed (24 -> 28)",
        ),
        ("views=simclr", "views cannot change"),
        ("batch_size=8", "batch_size cannot change when a run is resumed (16 -> 8)"),
        ("seed=3", "seed cannot change when a run is resumed (0 -> 3)"),
        ("name=other", "name cannot change"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches cannot change"),
    ],
)
def test_what_would_make_another_run_is_refused_and_leaves_no_trace(
    given: str, words: str, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    before = (folder / "config.yaml").read_text()
    assert resume(folder, *given.replace("PHOTOS", str(straight.parent / "photos")).split()) == 2
    assert words in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == before


def test_the_command_may_be_repeated_and_the_images_and_workers_be_others(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    shutil.copytree(straight.parent / "photos", tmp_path / "elsewhere")
    overrides = yaml.safe_load((folder / "config.yaml").read_text())["overrides"]
    said = [each for each in overrides if not each.startswith(("out=", "name="))]
    assert (
        resume(folder, *said, "batch_size=16", f"data.root={tmp_path / 'elsewhere'}", "data.workers=1") == 0
    )
    told = capsys.readouterr().out
    assert f"changed: data.root {straight.parent / 'photos'} -> {tmp_path / 'elsewhere'}" in told
    assert "changed: data.workers 0 -> 1" in told
    assert kills.differences(straight, folder) == []


def test_a_run_that_has_ended_is_made_longer_by_epochs(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(straight, tmp_path / "run")
    assert resume(tmp_path / "run", "trainer.max_steps=-1", "trainer.max_epochs=2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the run is now 8 steps long instead of 6: its schedules are stretched over the new length" in said
    assert [int(row["step"]) for row in kills.metrics(tmp_path / "run")] == list(range(1, 9))
    # The newest is called encoder, the one before by its step.
    cards = {
        path.name: json.loads((path / "card.json").read_text())["steps"]
        for path in (tmp_path / "run").glob("encoder*")
    }
    assert cards == {"encoder": 8, "encoder-step-000000006": 6, "encoder-best": 2}


def test_the_configuration_of_another_model_is_a_sentence(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["model_args"]["depth"] = 2
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert resume(folder) == 2
    said = capsys.readouterr().err
    assert "is not of the model in config.yaml beside it" in said
    assert said.count("\n") == 1


BOMBS = {
    "mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40)),
    "lists": "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    "itself": "a: &a {x: *a}\n",
    "deep": f"a: {'[' * 2000}{']' * 2000}\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_configuration_that_unfolds_without_end_is_refused(
    name: str, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    (folder / "config.yaml").write_text("trainer: {}\n" + BOMBS[name])
    for word in ("resume", "from"):
        assert main(["train", f"{word}={folder}"]) == 2
        said = capsys.readouterr().err
        assert "has more values than any configuration of selfsup" in said or "is damaged" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "{}", '{"starts": 3}', '{"starts": [3]}', '{"starts": [{"data": 3}]}']
)
def test_a_record_of_starts_that_is_not_ours_is_a_sentence(
    text: str, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    (folder / "environment.json").write_text(text)
    assert resume(folder) == 2
    said = capsys.readouterr().err
    assert "environment.json' is damaged" in said
    assert said.count("\n") == 1


def test_what_is_recorded_of_a_start(straight: Path) -> None:
    (start,) = json.loads((straight / "environment.json").read_text())["starts"]
    assert start.keys() == {"time", "command", "revision", "dirty", "versions", "device", "data"}
    assert {"python", "torch", "timm", "pytorch-lightning"} <= start["versions"].keys()
    assert start["device"]["processes"] == 1
    assert start["data"]["images"] == 64
    assert len(start["data"]["fingerprint"]) == 16
    assert all(start["versions"].values())


def test_other_images_are_refused(straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    path = folder / "environment.json"
    path.write_text(path.read_text().replace('"images": 64', '"images": 65'))
    assert resume(folder) == 2
    assert "(65 images then, 64 now" in capsys.readouterr().err


def test_a_run_is_repeated_with_any_number_of_workers(
    straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = straight / "environment.json"
    environment.write_text(environment.read_text().replace('"timm": "', '"timm": "0.'))
    assert main(["train", f"from={straight}", f"out={straight.parent}", "name=again", "data.workers=2"]) == 0
    assert "not as before: timm 0." in capsys.readouterr().out
    assert kills.differences(straight, straight.with_name("again")) == []
    assert (straight.parent / "latest").resolve().name == "again"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("batch_size", "many", "batch_size is a whole number, not 'many'"),
        ("seed", [1], "seed is a whole number"),
        ("data", 5, "data is a group of settings"),
        ("guard.every", None, "guard.every is a whole number, not 'null'"),
        ("method.optimizer.lr", {"a": 1}, "method.optimizer.lr is a number"),
        ("trainer.max_epochs", "${oops", "is not a configuration of a run"),
    ],
)
def test_a_strangers_setting_of_another_type_is_named(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any, words: str
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    *groups, last = key.split(".")
    functools.reduce(lambda inside, group: inside[group], groups, config)[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for word in ("resume", "from"):
        assert main(["train", f"{word}={folder}"]) == 2
        assert words in capsys.readouterr().err


def test_a_strangers_run_calls_nothing(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for target in ("os.system", "selfsup.run.folder.os.system", "selfsup.files.remove_parts"):
        config["data"]["source"] = {"_target_": target, "command": f"touch {tmp_path / 'called'}"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        for word in ("resume", "from"):
            assert main(["train", f"{word}={folder}"]) == 2
            assert f"would call {target}" in capsys.readouterr().err
    (folder / "config.yaml").write_text("!!python/object/apply:os.system ['false']")
    assert resume(folder) == 2
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "called").exists()


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_a_strangers_checkpoint_runs_nothing(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    torch.save({"state_dict": Evil(tmp_path / "ran")}, checkpoint_path(folder, 4))
    assert resume(folder) == 2
    said = capsys.readouterr().err
    assert f"'{checkpoint_path(folder, 4)}' is not a checkpoint of ours and was not loaded" in said
    assert not (tmp_path / "ran").exists()


def test_an_earlier_encoder_keeps_its_results_under_its_step(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    assert resume(folder, "evaluate=true") == 0
    first = json.loads((folder / "results.json").read_text())
    rename, done = os.rename, []

    def die(one: Any, other: Any) -> None:
        """Killed behind each of the moves of the older encoder, one a start."""
        rename(one, other)
        if Path(other).parent == folder and not Path(other).name.startswith(".") and len(done) < 3:
            done.append(str(other))
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", die)
    for _ in range(3):
        assert resume(folder, "trainer.max_steps=7") == 130
    assert [Path(each).name for each in done] == [
        "results-step-000000006.json",
        "encoder-step-000000006",
        "encoder",
    ]
    assert resume(folder, "trainer.max_steps=7") == 0
    newest = json.loads((folder / "results.json").read_text())
    assert newest["steps"] == 7
    assert newest["encoder"] == json.loads((folder / "encoder" / "card.json").read_text())["fingerprint"]
    assert json.loads((folder / "results-step-000000006.json").read_text()) == first
    names = sorted(path.name for path in (*folder.glob("encoder*"), *folder.glob(".enc*")))
    assert names == ["encoder", "encoder-best", "encoder-step-000000006"]
    assert read_run(folder).encoder == folder / "encoder"
    results = read_run(folder).results
    assert results is not None
    assert (results["encoder"], results["steps"]) == (newest["encoder"], 7)


def test_minutes_and_speed_are_those_of_all_starts(straight: Path, tmp_path: Path) -> None:
    folder = cut(straight, tmp_path / "cut", 5)
    content = read_checkpoint(checkpoint_path(folder, 5))
    content["callbacks"]["MetricsFile"]["seconds"] = 6000.0
    torch.save(content, checkpoint_path(folder, 5))
    assert resume(folder, "evaluate=true") == 0
    for minutes in (
        json.loads((folder / "encoder" / "card.json").read_text())["minutes"],
        json.loads((folder / "results.json").read_text())["minutes"],
    ):
        assert 100 <= minutes < 110
    # 6 steps of 16 images.
    assert json.loads((folder / "results.json").read_text())["images_per_second"] <= 6 * 16 / 6000


@pytest.mark.parametrize(
    ("given", "steps"),
    [("trainer.max_epochs=2", 8), ("trainer.max_steps=7", 7), ("trainer.max_epochs=1", None)],
)
def test_a_length_in_another_measure_is_what_is_meant(
    given: str, steps: int | None, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is measured in steps, an epoch has 4."""
    folder = cut(straight, tmp_path / "cut", 5)
    if steps is None:
        assert resume(folder, given) == 2
        assert (
            "trainer.max_epochs=1 would end it at 4; set trainer.max_epochs higher" in capsys.readouterr().err
        )
        return
    assert resume(folder, given) == 0
    assert [int(row["step"]) for row in kills.metrics(folder)] == list(range(1, steps + 1))
    assert resume(folder, "trainer.max_epochs=2", "trainer.max_steps=9") == 0  # steps, where both are given
    assert len(kills.metrics(folder)) == 9


def test_a_run_from_before_some_settings_goes_on_as_it_was(straight: Path, tmp_path: Path) -> None:
    folder = cut(straight, tmp_path / "cut", 4)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key in ("colours", "noise", "drop", "turns"):
        del config["data"][key]
    for kind in view_kinds(config["views"]).values():
        del kind["noise"], kind["drop"], kind["turn"]
    del config["combine"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert resume(folder) == 0
    assert kills.differences(straight, folder) == []
