"""What a run cost: operations are those of all views, forward and backward."""

from pathlib import Path

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.report.cost import cost
from selfsup.report.folder import Run
from selfsup.report.gallery import gflops_an_image
from selfsup.report.learner import gflops_of_training

WIDTH, HIDDEN, OUT = 48, 64, 32
SMALL = [
    "backbone.model_args.depth=3",
    f"backbone.model_args.embed_dim={WIDTH}",
    "backbone.model_args.num_heads=3",
]


def build(name: str, *settings: str):
    config = load_config("train", [f"method={name}", *SMALL, *settings])
    return make_method(config, make_encoder(config), devices=1).eval()


def images() -> ImageArray:
    return ImageArray(torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8))


def test_operations_of_barlow_twins_are_those_of_its_parts() -> None:
    method = build("barlow", f"method.projector.hidden={HIDDEN}", f"method.projector.out={OUT}")
    projector = 2 * (WIDTH * HIDDEN + HIDDEN * HIDDEN + HIDDEN * OUT) / 1e9
    correlations = 2 * OUT * OUT / 1e9
    # Two views; backward is twice forward; the correlations have two inputs already.
    expected = 3 * (2 * (gflops_an_image(method.encoder) + projector) + correlations)
    # Of the pixels no gradient is taken, and fused attention computes its weights twice.
    assert gflops_of_training(method, images()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["simclr", "dino", "mae", "jepa"])
def test_every_method_is_counted(name: str) -> None:
    method = build(name)
    encoding = gflops_an_image(method.encoder)
    # A quarter of the tokens is seen forward and backward at the least, four views and a teacher at the most.
    assert 0.5 * encoding < gflops_of_training(method, images()) < 40 * encoding


def test_amounts_are_of_all_images() -> None:
    config = load_config("train", ["batch_size=10", "trainer.devices=1"])
    run = Run("run", Path(), config=config, metrics=[{"step": 100.0, "seconds": 42.0}])
    found = dict(cost(run, 0.0894, of_training=0.5))
    assert found["images seen"] == "1,000 (10 a step)"
    assert found["operations of training"] == "500 GFLOPs"
    assert found["encoding an image"] == "89.4 MFLOPs"
    assert found["training, up to the last logged step"] == "42 s"
