"""DIET counts the training images, and knows them by their index."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.build import count_samples, make_encoder, make_method
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.report.folder import read_run
from selfsup.report.learner import rebuild
from selfsup.runs import read_config
from tests.methods.building import SMALL, batch_of, build


def test_there_is_a_class_for_each_training_sample() -> None:
    config = load_config("train", [*SMALL, "method=diet", "batch_size=32"])
    count_samples(config, 1000)
    method: Any = make_method(config, make_encoder(config), devices=1)
    assert method.classifier.weight.shape == (1000, 32)
    assert method.failures[0].from_step == 10 * 1000 // 32
    other = load_config("train", [*SMALL, "method=simclr"])
    count_samples(other, 1000)
    assert "samples" not in other["method"]


def test_an_image_is_known_by_its_index_in_every_view() -> None:
    method: Any = build("method=diet", "views=simclr").eval()
    batch = batch_of(method)
    batch = replace(batch, views=[batch.views[0]] * 2, index=torch.arange(8) * 16)
    with torch.no_grad():
        features = method.encoder(batch.views[0])
        method.classifier.weight.zero_()[::16] = 20 * torch.linalg.pinv(features).T
        output, shuffled = (method.loss(each) for each in (batch, replace(batch, index=batch.index.roll(1))))
    assert float(output.scalars["recognised"]) == 1
    assert float(shuffled.scalars["recognised"]) == 0
    assert float(shuffled.loss) > float(output.loss)
    with pytest.raises(ValueError, match="index must be from 0 to 127, got 128"):
        method.loss(replace(batch, index=batch.index + 16))


def test_a_run_counts_its_images_and_its_folder_remembers(tmp_path: Path) -> None:
    settings = [*SMALL, "method=diet", "trainer.max_steps=2", "batch_size=16", "data.train=train[:100]"]
    where = ["evaluate=false", "report=false", f"out={tmp_path}", "name=one"]
    assert main(["train", *settings, *where]) == 0
    assert read_config(tmp_path / "one", "report")["method"]["samples"] == 100
    method: Any = rebuild(read_run(tmp_path / "one"))
    assert len(method.classifier.weight) == 100
    assert main(["train", f"resume={tmp_path / 'one'}", "trainer.max_steps=3"]) == 0
