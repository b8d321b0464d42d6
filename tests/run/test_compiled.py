"""`compile=true`: torch compiles the passes of training, and nothing else changes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup import build
from selfsup.build import compile_passes, make_encoder, make_method
from selfsup.callbacks.guard.undisturbed import undisturbed
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.encoder import Encoder
from tests.methods.building import images

SMALL = ["data.image_size=16", "backbone.model_args={patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2}"]


class Counted:
    """A backend of torch.compile that computes as before and counts what it is given to compile."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def encoder_of(backbone: str) -> Encoder:
    small = SMALL if backbone == "vit_mini" else SMALL[:1]
    torch.compiler.reset()
    return make_encoder(load_config("train", [f"backbone={backbone}", *small]))


def passed(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    """The features, and the gradients of their squares by the names of the weights."""
    encoder.zero_grad()
    features = encoder(images)
    features.square().sum().backward()
    return {
        "features": features,
        **{name: p.grad for name, p in encoder.named_parameters() if p.grad is not None},
    }


@pytest.mark.parametrize("backbone", ["resnet10", "vit_mini"])
def test_training_computes_by_what_was_compiled_and_the_same(backbone: str) -> None:
    plain, backend = encoder_of(backbone).train(), Counted()
    compiled = copy.deepcopy(plain)
    compiled.compile_training(backend)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(passed(compiled, images), passed(plain, images))
    assert backend.graphs > 0
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())


@pytest.mark.parametrize("backbone", ["resnet10", "vit_mini"])
def test_evaluation_compiles_nothing(backbone: str) -> None:
    encoder, backend = encoder_of(backbone).eval(), Counted()
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = encoder(images)
        encoder.compile_training(backend)
        torch.testing.assert_close(encoder(images), before)
        encoder(images[:3])
        assert backend.graphs == 0
        encoder.train()(images)
        assert backend.graphs > 0


def test_hidden_patches_are_left_out_of_the_compiled_blocks() -> None:
    plain, backend = encoder_of("vit_mini").train(), Counted()
    compiled = copy.deepcopy(plain)
    compiled.compile_training(backend)
    images, keep = torch.randn(2, 3, 16, 16), torch.tensor([[0, 3, 5], [2, 1, 7]])
    torch.testing.assert_close(compiled.tokens(images, keep), plain.tokens(images, keep))
    assert backend.graphs > 0


@pytest.mark.parametrize("method", ["dino", "jepa"])
def test_the_teacher_is_compiled_too(method: str) -> None:
    config = load_config("train", [f"method={method}", *SMALL])
    module = make_method(config, make_encoder(config), devices=1)
    compile_passes(module, on_gpu=False)
    assert [each.compiled for each in module.modules() if isinstance(each, Encoder)] == [True, True]


@pytest.mark.parametrize(("method", "blocks"), [("jepa", 2), ("capi", 2)])
def test_a_predictor_is_compiled_in_training_only(
    method: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's look computes as it is written, with the same loss."""
    small = [*SMALL, f"method={method}", f"method.predictor.depth={blocks}"]
    config = load_config("train", [*small, "method.predictor.heads=2"])
    plain = make_method(config, make_encoder(config), devices=1).train()
    compiled = copy.deepcopy(plain)
    backend, compile_ = Counted(), torch.nn.Module.compile
    torch.compiler.reset()
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: compile_(self, **given | {"backend": backend})
    )
    compile_passes(compiled, on_gpu=False)
    raw = {"image": images(4, 16), "index": torch.arange(4)}
    torch.testing.assert_close(compiled(compiled.batch(raw)).loss, plain(plain.batch(raw)).loss)
    names = {name for name, part in compiled.named_modules() if part._compiled_call_impl is not None}
    assert sum("predictor" in name or name.startswith("blocks") for name in names) == blocks, names
    made = backend.graphs
    assert made > 0
    raw = {"image": images(3, 16), "index": torch.arange(3)}
    with undisturbed(compiled):
        compiled.observe(compiled.batch(raw))
    assert backend.graphs == made


@pytest.mark.parametrize("on_gpu", [True, False])
def test_the_colours_of_views_are_compiled_on_a_gpu(on_gpu: bool) -> None:
    config = load_config("train", ["method=simclr", "backbone=resnet10", *SMALL[:1]])
    module = make_method(config, make_encoder(config), devices=1)
    assert not module.views.compiled
    compile_passes(module, on_gpu)
    assert module.views.compiled == on_gpu


def test_a_cpu_without_a_compiler_is_told_before_a_folder_is_made(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "cxx", lambda: None)
    assert main(["train", "compile=true", "trainer.accelerator=cpu", f"out={tmp_path}/runs"]) == 2
    assert "compile=true needs a C++ compiler" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
