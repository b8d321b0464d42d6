"""Baselines with labels: what they learn from, and that nothing starts where there is none."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from selfsup.build import count_classes
from selfsup.callbacks.guard.signals import measure
from selfsup.commands import main
from selfsup.commands.help import choices
from selfsup.config import options
from selfsup.data import ImageArray
from selfsup.encoder import load_encoder, save_encoder, write_model_card
from selfsup.errors import UsageError
from selfsup.from_labels import labels_used_by
from selfsup.methods.failures import few_dimensions
from selfsup.objectives import nt_xent, view_batch
from selfsup.report.folder import read_run
from selfsup.report.scores import scores_table
from tests.methods.building import SMALL, batch_of, build, composed

LABELLED = [
    name for name in options("method") if "labels" in composed(f"method={name}")["method"]["requires"]
]


def source(labels: list[int] | None) -> ImageArray:
    numbers = None if labels is None else torch.tensor(labels)
    return ImageArray(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), numbers)


@pytest.mark.parametrize("name", LABELLED)
def test_the_classes_are_counted_and_images_without_any_refused(name: str) -> None:
    config = composed(f"method={name}")
    count_classes(config, source([0, 3, 1, 0]))
    assert config["method"]["classes"] == 4
    with pytest.raises(
        UsageError, match=f"^method={name} learns from labels, and the training images have none"
    ):
        count_classes(config, source(None))
    config["data"]["labels"] = "some.csv"
    with pytest.raises(UsageError, match=r"those in 'some.csv' \(data.labels\) are for judging alone"):
        count_classes(config, source(None))


def test_what_needs_no_labels_is_told_nothing() -> None:
    config = composed("method=simclr", "auxiliary=[koleo]")
    before = composed("method=simclr", "auxiliary=[koleo]")
    count_classes(config, source(None))
    assert config == before


def test_an_auxiliary_loss_is_told_the_classes_as_a_method_is() -> None:
    config = composed("method=simclr", "auxiliary=[koleo]")
    config["auxiliary"]["koleo"]["requires"] = ["labels", "classes"]
    count_classes(config, source([1, 1, 0, 2]))
    assert config["auxiliary"]["koleo"]["classes"] == 3
    with pytest.raises(UsageError, match=r"^auxiliary=koleo learns from labels"):
        count_classes(config, source(None))


def test_a_run_without_labels_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((20, 8, 8, 3), dtype=np.uint8))
    given = ["data=arrays", f"data.images={images}", f"out={tmp_path / 'runs'}"]
    assert main(["train", "method=supervised", *SMALL, *given]) == 2
    assert "method=supervised learns from labels" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_supervised_is_the_cross_entropy_of_a_linear_layer_on_the_features() -> None:
    method: Any = build("method=supervised", "method.smoothing=0.1")
    batch = batch_of(method)
    logits = method.classifier(method.encoder(batch.views[0])).log_softmax(1)
    own = logits[torch.arange(8), batch.labels]
    expected = -(0.9 * own + 0.1 * logits.mean(1)).mean()
    torch.testing.assert_close(method(batch).loss, expected)


def test_a_projector_stands_between_features_and_classes() -> None:
    plain: Any = build("method=supervised")
    assert isinstance(plain.projector, nn.Identity)
    assert plain.classifier.in_features == plain.encoder.dim
    method: Any = build("method=supervised", "method.projector.layers=2", "method.projector.out=24")
    assert method.classifier.in_features == 24
    assert method(batch_of(method)).features[0].shape == (8, method.encoder.dim)
    with pytest.raises(UsageError, match="layers is 1; take 0 for no projector, or 2 or more"):
        build("method=supervised", "method.projector.layers=1")


def test_consistency_adds_the_views_divergence() -> None:
    settings = ("method=supervised", "views=simclr", "views.each.count=3")
    plain: Any = build(*settings)
    weighed: Any = build(*settings, "method.consistency=0.5")
    weighed.load_state_dict(plain.state_dict())
    plain.eval(), weighed.eval()
    batch = batch_of(plain)
    logits = torch.stack([plain.classifier(plain.encoder(view)) for view in batch.views])
    apart = view_batch(logits)
    assert apart > 1e-6
    torch.testing.assert_close(weighed(batch).loss, plain(batch).loss + 0.5 * apart)
    with pytest.raises(
        UsageError, match=r"method.consistency=0.5 compares several views.* take views=simclr"
    ):
        build("method=supervised", "method.consistency=0.5")


def test_supcon_of_classes_of_one_image_is_simclr() -> None:
    method: Any = build("method=supcon", "method.temperature=0.2").eval()
    batch = batch_of(method, label=torch.arange(8))
    one, other = (method.projector(method.encoder(view)) for view in batch.views)
    torch.testing.assert_close(method(batch).loss, nt_xent(one, other, 0.2))


def test_supcon_marks_the_loss_of_equal_embeddings() -> None:
    method: Any = build("method=supcon", "batch_size=32", "method.base_temperature=0.05")
    assert method.marks()["trivial"] == pytest.approx(2 * math.log(63))


def test_look_is_the_mean_over_the_views() -> None:
    method: Any = build("method=look", "views=simclr").eval()
    batch = batch_of(method, 16)
    parts = [method(batch.only([view])).loss for view in (0, 1)]
    torch.testing.assert_close(method(batch).loss, torch.stack(parts).mean())


@pytest.mark.parametrize("name", LABELLED)
def test_features_gathered_by_class_are_no_failure(name: str) -> None:
    """They have as many dimensions as there are classes, less one: fewer than at the start."""
    z = torch.eye(4).repeat(16, 1) + 0.01 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    gathered = measure({"backbone": torch.cat([z, torch.zeros(64, 28)], 1)})
    start = {"backbone_rankme_centred": 20.0}
    assert not few_dimensions("backbone", 4).holds(100, 0.5, gathered, start)
    assert few_dimensions("backbone", 20).holds(100, 0.5, gathered, start)


def test_whatever_a_run_leaves_behind_says_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["method=supcon", *SMALL, "trainer.max_steps=2", "batch_size=16", "data.train=train[:100]"]
    assert main(["train", *settings, f"out={tmp_path}", "name=one", "report=false"]) == 0
    encoder = load_encoder(tmp_path / "one" / "encoder")
    assert encoder.card["from_labels"] == ["method=supcon"]
    text = (tmp_path / "one" / "encoder" / "README.md").read_text()
    assert "It was trained with labels (`method=supcon`)" in text
    assert "self-supervised-learning" not in text
    rows = json.loads((tmp_path / "one" / "results.json").read_text())["rows"]
    assert {row["name"]: row["from_labels"] for row in rows}["encoder"] == ["method=supcon"]
    assert [row["name"] for row in rows if row["from_labels"]] == ["encoder"]
    run = read_run(tmp_path / "one")
    assert scores_table([run])["rows"][0]["name"] == "this encoder (labels)"
    assert (
        main(["evaluate", f"encoder={tmp_path / 'one' / 'encoder'}", "protocols=[knn]", "controls=false"])
        == 0
    )
    assert "encoder: learned from labels (method=supcon)" in capsys.readouterr().out
    assert main(["train", f"resume={tmp_path / 'one'}", "trainer.max_steps=3", "evaluate=false"]) == 0


def test_what_learns_without_labels_says_so(tmp_path: Path) -> None:
    save_encoder(build("method=simclr").encoder, tmp_path / "a", {"method": "simclr", "from_labels": []})
    assert "It was trained without labels" in write_model_card(tmp_path / "a").read_text()


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        (["method=simclr"], []),
        (["method=simclr", "positives=labels"], ["positives=labels"]),
        (["method=dino", "data.pairs=pairs.csv"], ["data.pairs"]),
        (["method=look", "data.balanced=true"], ["method=look", "data.balanced=true"]),
    ],
)
def test_what_a_run_knows_beside_its_images_is_read_off_its_settings(
    settings: list[str], used: list[str]
) -> None:
    assert labels_used_by(composed(*settings)) == used


def test_help_marks_what_learns_from_labels() -> None:
    lines = [line for line in choices("train").splitlines() if "(labels)" in line]
    marked = [*LABELLED, "sla", "edges", "labels", "oracle"]
    assert [line.split()[0] for line in lines] == marked
