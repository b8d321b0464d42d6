"""A run can begin from anybody's weights, and says by how much it is better than they were."""

import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml

from benchmarks.robustness import kills
from selfsup import build_encoder, load_encoder, save_encoder
from selfsup.build import make_encoder, make_method
from selfsup.callbacks.checkpoint_files import checkpoints, step_of
from selfsup.commands import main
from selfsup.commands.encoders import with_encoders
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.report.gallery import denormalised
from selfsup.runs import read_config
from tests.methods.building import batch_of, images

SMALL = ("report=false", "trainer.log_every_n_steps=1", "guard.enabled=false", "online=none")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    args = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "drop_path_rate": 0.2}
    encoder = build_encoder("vit_tiny_patch16_224", 24, {**args, "img_size": 24}, seed=0)
    return save_encoder(encoder, tmp_path_factory.mktemp("weights") / "somebody's")


@pytest.fixture(scope="module")
def straight(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A continued run of 6 steps with a checkpoint of each; the encoder learns after 3."""
    out = tmp_path_factory.mktemp("runs")
    kills.make_photos(out / "photos")
    given = [each for each in kills.SMALL if "model_args" not in each]
    given += [f"data.root={out / 'photos'}", "trainer.max_steps=6", "trainer.checkpoints_kept=99"]
    given += ["data.workers=0", "method=dino", f"backbone.weights={weights}", "backbone.frozen=0.5"]
    assert main(["train", f"out={out}", "name=straight", *given]) == 0
    return out / "straight"


def test_the_start_is_in_the_runs_folder_and_in_its_table(straight: Path, weights: Path) -> None:
    images = torch.randn(2, 3, 24, 24)
    kept = load_encoder(straight / "start").eval()(images)
    assert torch.equal(kept, load_encoder(weights).eval()(images))
    results = json.loads((straight / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows)[:3] == ["encoder", "start", "untrained"]
    assert rows["start"]["encoder"] == load_encoder(straight / "start").fingerprint()
    for gain in results["gains"]:
        values = [rows[name]["scores"][gain["score"]]["value"] for name in ("encoder", "start")]
        assert gain["difference"] == pytest.approx(values[0] - values[1], abs=1e-9)
    assert {gain["score"] for gain in results["gains"]} >= {"knn", "linear"}


@pytest.mark.parametrize("step", [0, 2, 4])  # nothing learned, heads only, all
def test_it_is_resumed_to_the_bit_whatever_became_of_the_weights(
    step: int, straight: Path, weights: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(straight, tmp_path / "cut")
    shutil.rmtree(folder / "encoder")
    for path in checkpoints(folder):
        if step_of(path) > step:
            path.unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["weights"] = str(tmp_path / "moved away")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", f"resume={folder}"]) == 0
    assert kills.differences(straight, folder) == []


@pytest.mark.parametrize("form", ["adapters", "distilled", "kept near a start", "kept near a teacher"])
def test_adapters_and_students_are_resumed_to_the_bit(form: str, weights: Path, tmp_path: Path) -> None:
    kills.make_photos(tmp_path / "photos")
    weights = Path(shutil.copytree(weights, tmp_path / "weights"))
    begun = [f"backbone.weights={weights}"]
    own = {
        "adapters": ["method=simclr", *begun, "backbone.lora.rank=2"],
        "distilled": [
            "method=distill",
            "backbone=resnet10",
            f"method.teacher={weights}",
            "method.layers=[2]",
        ],
        "kept near a start": ["method=byol", *begun, "auxiliary=[distill]"],
        "kept near a teacher": [
            "method=byol",
            *begun,
            "auxiliary=[distill]",
            f"auxiliary.distill.teacher={weights}",
        ],
    }
    given = [each for each in kills.SMALL if "model_args" not in each] + own[form]
    given += [f"data.root={tmp_path / 'photos'}", f"out={tmp_path}", "data.workers=0", "evaluate=false"]
    given += ["trainer.checkpoints_kept=99", "online=none", "trainer.max_steps=4"]
    assert main(["train", "name=straight", *given]) == 0
    shutil.rmtree(weights)  # the run keeps what it needs
    straight, folder = tmp_path / "straight", tmp_path / "cut"
    shutil.copytree(straight, folder)
    shutil.rmtree(folder / "encoder")
    for path in checkpoints(folder):
        if step_of(path) > 2:
            path.unlink()
    assert main(["train", f"resume={folder}"]) == 0
    assert kills.differences(straight, folder) == []


def test_the_last_line_says_whether_it_helped(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"backbone.weights={weights}", f"out={tmp_path}", "name=one", "trainer.max_steps=2", *SMALL]
    assert main(["train", "experiment=continue", *given]) == 0
    last = " ".join(capsys.readouterr().out.rpartition("pretrained=True)")[2].split())
    for words in ("than the weights it began with", "kNN", "points ["):
        assert words in last
    assert main(["evaluate", f"encoder={tmp_path / 'one'}", "protocols=[knn]"]) == 0
    assert " start " in capsys.readouterr().out


def test_without_labels_the_last_line_tells_of_both_ranks(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills.make_photos(tmp_path / "photos")
    given = [
        f"backbone.weights={weights}",
        "data=folder",
        f"data.root={tmp_path / 'photos'}",
        "batch_size=16",
    ]
    given += ["data.labels=false", "data.image_size=24", "data.workers=0", f"out={tmp_path}", *SMALL]
    assert main(["train", "trainer.max_steps=2", *given]) == 0
    last = " ".join(capsys.readouterr().out.rpartition("pretrained=True)")[2].split())
    assert re.search(r"no score with labels .* dimensions, before [\d.]+ \(RankMe\)", last)


def test_its_pictures_have_the_colours_of_the_images(weights: Path, tmp_path: Path) -> None:
    other = load_encoder(weights)
    other.mean, other.std = (0.1, 0.5, 0.3), (0.9, 0.2, 0.4)
    folder = save_encoder(other, tmp_path / "other")
    shown = []
    for name in (weights, folder):
        config = with_encoders(load_config("train", [f"backbone.weights={name}", "data.image_size=24"]))
        method = make_method(config, make_encoder(config), devices=1)
        shown.append(denormalised(batch_of(method, image=images(8, 24)).views[0], method.encoder))
    assert shown[0].float().std() > 10
    assert (shown[0].int() - shown[1].int()).abs().max() <= 1


def test_weights_of_colours_go_on_with_images_of_other_channels(weights: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (24, 24, 24, 4), dtype=np.uint16)
    np.save(tmp_path / "images.npy", pixels.astype(np.float32))
    given = ["data=arrays", f"data.images={tmp_path / 'images.npy'}", "data.channels=4", "data.range=auto"]
    given += [f"backbone.weights={weights}", "data.image_size=24", "method=simclr", "batch_size=4"]
    typed = ["train", "trainer.max_steps=1", "evaluate=false", f"out={tmp_path}", "name=run", *SMALL]
    assert main([*typed, *given]) == 0
    encoder = load_encoder(tmp_path / "run" / "encoder")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert encoder.channels == load_encoder(tmp_path / "run" / "start").channels == 4
    assert encoder.mean == pytest.approx(config["data"]["mean"], abs=1e-6)
    assert main(["views", *given, f"out={tmp_path / 'sheet.png'}", "images=2"]) == 0


def test_its_views_can_be_looked_at(weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(weights, run / "encoder")
    assert main(["views", f"backbone.weights={run}", f"out={tmp_path / 'sheet.png'}", "images=2"]) == 0


@pytest.mark.parametrize("word", ["resume", "from", "report"])
def test_a_strangers_run_says_not_which_file_is_opened_nor_what_is_fetched(
    word: str, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(straight, tmp_path / "stranger"))
    shutil.rmtree(folder / "start")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["weights"] = "hf-hub:stranger/name"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    asked: list[str] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name))
    with pytest.raises(UsageError, match=r"has no start/, the encoder that backbone\.weights names"):
        read_config(folder, word)
    if word == "report":
        main(["report", str(folder)])
    assert asked == []


def test_a_run_of_before_there_were_such_settings_goes_on(tmp_path: Path) -> None:
    kills.make_photos(tmp_path / "photos")
    given = [*kills.SMALL, f"data.root={tmp_path / 'photos'}", f"out={tmp_path}", "data.workers=0"]
    assert main(["train", "name=old", *given, "trainer.max_steps=1", "evaluate=false", "online=none"]) == 0
    path = tmp_path / "old" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for key in ("weights", "frozen", "lora", "checkpointing"):
        del config["backbone"][key]
    path.write_text(yaml.safe_dump(config))
    assert main(["train", f"resume={tmp_path / 'old'}", "trainer.max_steps=2"]) == 0


def test_a_run_is_repeated_with_what_it_began_with(
    straight: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"from={straight}", f"out={tmp_path}", f"backbone.weights={weights}"]) == 2
    assert "that run keeps the encoder of backbone.weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["backbone=resnet18"], "brings its own architecture; leave out backbone="),
        (["backbone.positions=learned"], "leave out backbone.positions="),
        (["data.mean=[0.5,0.5,0.5]"], "brings its own mean and deviation; leave out data.mean="),
    ],
)
def test_settings_that_the_weights_bring_are_refused(given: list[str], words: str, weights: Path) -> None:
    with pytest.raises(UsageError, match=words):
        with_encoders(load_config("train", [f"backbone.weights={weights}", *given]))


def test_there_must_be_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=continue"]) == 2
    assert "there are no weights to go on from" in capsys.readouterr().err
    assert main(["train", "experiment=continue", "backbone.weights=nowhere"]) == 2
    assert "there is no encoder 'nowhere'" in capsys.readouterr().err
