"""What Weights & Biases gets of a run that stays offline: scalars, settings, pictures and the encoder."""

import csv
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from selfsup import load_encoder
from selfsup.commands import main, train
from selfsup.run.share import hand_encoder, show

SMALL = ("backbone.model_args.depth=1", "backbone.model_args.embed_dim=24", "backbone.model_args.num_heads=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    settings = [*SMALL, "method=dino", "trainer.max_steps=2", "trainer.log_every_n_steps=1", "report=false"]
    quick = ["evaluate=false", "guard.enabled=false", "batch_size=16", "logger=wandb", "logger.mode=offline"]
    assert main(["train", f"out={out}", "name=one", "traceback=true", *settings, *quick]) == 0
    return out / "one"


def test_pictures_of_views_and_neighbours(run: Path) -> None:
    pictures = {
        path.stem.split("_")[0]: path for path in run.glob("wandb/offline-run-*/files/media/images/*.png")
    }
    assert pictures.keys() == {"views", "neighbours"}
    with Image.open(pictures["views"]) as image:
        assert image.size == (6 * 26, 4 * 26)  # four images, two large and four small views of 24 px
    with Image.open(pictures["neighbours"]) as image:
        assert image.size == (9 * 26, 8 * 26)


def test_the_encoder_is_among_the_files_that_sync_uploads(run: Path) -> None:
    (log,) = run.glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    for word in (b"encoder/model.safetensors", b"encoder/card.json", b"teacher_temperature", b"loss"):
        assert word in content, word
    (folder,) = run.glob("wandb/offline-run-*/files/encoder")
    assert load_encoder(folder).fingerprint() == load_encoder(run / "encoder").fingerprint()


@pytest.mark.parametrize(("private", "offline"), [(False, True), (True, False)])
def test_it_is_an_artefact_where_no_path_is_written_down_or_may_be(
    run: Path, private: bool, offline: bool
) -> None:
    logger = Mock(spec=WandbLogger)
    logger.experiment.offline, logger.experiment.id = offline, "number"
    hand_encoder(logger, load_encoder(run / "encoder"), {"method": "dino"}, private)
    (artefact,) = logger.experiment.log_artifact.call_args.args
    assert (artefact.name, artefact.type) == ("encoder-number", "model")
    assert {"config.json", "model.safetensors", "card.json", "README.md"} == artefact.manifest.entries.keys()


def test_tensorboard_gets_scalars_and_pictures(run: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = [*SMALL, "method=simclr", "trainer.max_steps=2", "trainer.log_every_n_steps=1", "report=false"]
    quick = ["evaluate=false", "guard.enabled=false", "batch_size=16", "logger=tensorboard"]
    assert main(["train", f"out={tmp_path}", "name=one", "traceback=true", *settings, *quick]) == 0
    events = reader.EventAccumulator(str(tmp_path / "one" / "tensorboard")).Reload()
    with (tmp_path / "one" / "metrics.csv").open() as file:
        expected = [float(row["loss"]) for row in csv.DictReader(file)]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(expected)
    assert set(events.Tags()["images"]) == {"views", "neighbours"}


def test_tensorboard_that_is_not_there_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    assert main(["train", f"out={tmp_path / 'runs'}", "logger=tensorboard"]) == 2
    assert "pip install 'selfsup[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_logger_without_pictures_is_left_alone() -> None:
    show(object(), "views", torch.zeros(3, 8, 8, dtype=torch.uint8), 0)
