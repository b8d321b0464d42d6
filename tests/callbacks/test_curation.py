"""Images chosen while training: what is kept, and that a killed run goes on to the bit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.callbacks.checkpoint_files import checkpoint_path, read_checkpoint, step_of
from selfsup.callbacks.checkpoint_files import checkpoints as found
from selfsup.callbacks.curation import file_of
from selfsup.commands import main
from selfsup.runs import read_config

TINY = (
    "method=simclr",
    "batch_size=32",
    "data.train=train[:160]",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=4",
    "trainer.checkpoint_steps=1",
    "trainer.checkpoints_kept=99",
    "curation=balanced",
    "curation.warmup_epochs=1",
    "curation.every_epochs=2",
    "curation.iterations=5",
    "curation.rounds=1",
    "guard.enabled=false",
    "online=none",
    "evaluate=false",
    "report=false",
)
LAST = 20  # steps, 5 an epoch


def state(folder: Path, step: int) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = read_checkpoint(checkpoint_path(folder, step))["state_dict"]
    return loaded


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", f"out={out}", "name=whole", *TINY]) == 0
    return out / "whole"


def test_a_share_is_kept_after_the_warm_up_and_reported(whole: Path) -> None:
    files = sorted(path.name for path in whole.glob("kept-*"))
    assert files == ["kept-after-1-epochs.npy", "kept-after-3-epochs.npy"]
    first, second = (np.load(whole / name) for name in files)
    for kept in (first, second):
        assert kept.dtype == np.int64
        assert len(kept) == 80
        assert (np.diff(kept) > 0).all()
        assert kept[0] >= 0
        assert kept[-1] < 160
    said = (
        "chosen while training, balanced over clusters, of 160 images: 80 after 1 epochs, 80 after 3 epochs"
    )
    assert json.loads((whole / "data.json").read_text())["kept"] == said


@pytest.mark.parametrize("step", [4, 5, 15])
def test_a_run_killed_at_any_step_goes_on_to_the_bit(whole: Path, tmp_path: Path, step: int) -> None:
    """After step 5 and 15 images are chosen: their files are there before the checkpoint."""
    folder = tmp_path / "killed"
    shutil.copytree(whole, folder)
    for path in found(folder):
        if step_of(path) > step:
            path.unlink()
    for epoch in (1, 3):
        if epoch > step // 5:  # written, and the run killed before the checkpoint: chosen again
            file_of(folder, epoch).write_bytes(b"of later")
    assert main(["train", f"resume={folder}"]) == 0
    ours, theirs = state(folder, LAST), state(whole, LAST)
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    for epoch in (1, 3):
        assert file_of(folder, epoch).read_bytes() == file_of(whole, epoch).read_bytes()
    assert (folder / "data.json").read_bytes() == (whole / "data.json").read_bytes()
    assert read_config(folder, "resume")["curation"]["share"] == 0.5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (np.arange(3.0), "does not hold one row of positions"),
        (np.array([3, 2, 5] * 20), "do not ascend"),
        (np.arange(100, 161), "no image has"),
        (np.arange(31), "31 samples are kept, fewer than a batch"),
    ],
)
def test_a_choice_that_cannot_be_read_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: np.ndarray | None, reason: str
) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(whole, folder)
    file_of(folder, 3).unlink()
    if content is not None:
        np.save(file_of(folder, 3), content)
    assert main(["train", f"resume={folder}", "trainer.max_epochs=5"]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert reason in said
    assert "says which images the run learns from" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["curation.share=0.1"], "curation.share=0.1 of 160 images is less than a batch (32)"),
        (["curation.precision=half"], "curation.precision must be float32, bfloat16 or auto"),
        (["curation.share=1"], "curation.share is 1; it has to be above 0 and below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    assert main(["train", f"out={tmp_path / 'runs'}", *TINY, *settings]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
