"""A run with a rate without an end goes on as if it had been longer, and its annealing is a branch."""

import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.robustness import kills
from selfsup.callbacks.checkpoint_files import checkpoints, step_of
from selfsup.commands import main

RATE = ("warmup_steps=2", "cooldown_steps=4", "lr_constant=0.4", "lr_end=0.01", "anneal_steps=3")
PEAK = 1e-3 * 16 / 256


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    photos = tmp_path_factory.mktemp("photos")
    kills.make_photos(photos)
    settings = [f"data.root={photos}", *kills.SMALL, "evaluate=false", "data.workers=0", "method=byol"]
    settings += ["trainer.checkpoints_kept=99", "schedule=infinite", "method.optimizer.lr=1e-3"]
    settings += ["method.optimizer.lr_batch=256"]
    return settings + [f"method.optimizer.{each}" for each in RATE]


@pytest.fixture(scope="module")
def straight(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", f"out={out}", "name=straight", "trainer.max_steps=7", *given]) == 0
    return out / "straight"


def rates(folder: Path) -> list[float]:
    return [float(row["lr"]) for row in kills.metrics(folder)]


def test_its_rate_is_that_of_the_formula(straight: Path) -> None:
    assert rates(straight) == pytest.approx([PEAK * share for share in (0.5, 1, 0.7, 0.4, 0.4, 0.4, 0.4)])


def test_a_finished_run_that_goes_on_is_the_longer_run_to_the_bit(
    given: list[str], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"out={tmp_path}", "name=two", "trainer.max_steps=5", *given]) == 0
    assert main(["train", f"resume={tmp_path / 'two'}", "trainer.max_steps=7"]) == 0
    shutil.rmtree(tmp_path / "two" / "encoder-step-000000005")
    assert kills.differences(straight, tmp_path / "two") == []
    assert "stretched" not in capsys.readouterr().out


def test_the_annealing_is_a_branch_that_can_be_resumed(straight: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in straight.iterdir() if path.is_file()}
    assert main(["train", f"anneal={straight}", f"out={tmp_path}", "name=branch"]) == 0
    assert {path.name: path.read_bytes() for path in straight.iterdir() if path.is_file()} == before
    branch = tmp_path / "branch"
    shares = [0.4 * (0.01 / 0.4) ** (n / 3) for n in (1, 2, 3)]
    assert rates(branch) == pytest.approx([PEAK * share for share in shares])
    assert [int(row["step"]) for row in kills.metrics(branch)] == [8, 9, 10]
    config = yaml.safe_load((branch / "config.yaml").read_text())
    assert config["method"]["optimizer"]["anneal_from"] == 7
    assert config["anneal"] == str(straight)

    cut = shutil.copytree(branch, tmp_path / "cut")
    shutil.rmtree(cut / "encoder")
    for path in checkpoints(cut):  # as if it had been killed before its first checkpoint
        if step_of(path) > 7:
            path.unlink()
    assert main(["train", f"resume={cut}"]) == 0
    assert kills.differences(branch, cut) == []


def test_what_cannot_be_annealed_is_a_sentence(
    given: list[str], straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *given, "method.optimizer.warmup_steps=9", f"out={tmp_path}"]) == 2
    assert "warmup_steps=9 has to be at most cooldown_steps=4" in capsys.readouterr().err
    assert main(["train", f"anneal={tmp_path / 'none'}"]) == 2
    assert "is not a run's folder" in capsys.readouterr().err
    assert main(["train", f"anneal={straight}", f"resume={straight}"]) == 2
    assert "give only one" in capsys.readouterr().err
    bare = shutil.copytree(straight, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    assert main(["train", f"anneal={bare}"]) == 2
    assert "has no checkpoint to anneal from" in capsys.readouterr().err
    config = yaml.safe_load((bare / "config.yaml").read_text())
    config["method"]["optimizer"]["schedule"] = "cosine"
    config["method"]["optimizer"] |= {"warmup": 0.1, "lr_end": 0.1}
    (bare / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", f"anneal={bare}"]) == 2
    assert "ends a run of schedule=infinite" in capsys.readouterr().err
