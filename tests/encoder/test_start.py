"""An encoder that training begins with has the weights that were named, fitted to the run's images."""

import logging
from pathlib import Path

import huggingface_hub
import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from selfsup import UsageError, build_encoder, load_encoder, save_encoder
from selfsup.encoder import start, start_from

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 4, "img_size": 16}
NAME = "vit_tiny_patch16_224"


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A small vision transformer with learned positions, of images of 16 px."""
    encoder = build_encoder(NAME, 16, VIT, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), seed=0)
    return str(save_encoder(encoder, tmp_path / "saved"))


def test_its_features_are_those_of_the_weights(saved: str) -> None:
    begun, images = start_from(saved, 16), torch.randn(2, 3, 16, 16)
    assert (begun.mean, begun.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert torch.equal(begun.eval()(images), load_encoder(saved).eval()(images))
    assert begun.resizing is None  # its images are prepared as the run's are
    assert begun.card == {}


def test_learned_positions_are_resized_and_said_to_be(saved: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        begun = start_from(saved, 24)
    assert "is of 16 px: its position embeddings are resized for images of 24 px" in caplog.text
    old, new = load_encoder(saved).model.state_dict(), begun.model.state_dict()
    expected = resample_abs_pos_embed(old["pos_embed"], [6, 6], [4, 4], num_prefix_tokens=1)
    assert torch.equal(new["pos_embed"], expected)
    assert all(torch.equal(new[name], value) for name, value in old.items() if name != "pos_embed")
    assert begun.untrained().input_size == begun.input_size == (24, 24)
    assert begun.eval()(torch.zeros(1, 3, 24, 24)).shape == begun.eval()(torch.zeros(1, 3, 12, 12)).shape


def test_fixed_positions_are_made_anew(tmp_path: Path) -> None:
    encoder = build_encoder(NAME, 16, VIT, positions="sincos", seed=0)
    begun = start_from(str(save_encoder(encoder, tmp_path / "saved")), 24)
    fresh = build_encoder(NAME, 24, {**VIT, "img_size": 24}, positions="sincos")
    assert torch.equal(begun.model.pos_embed, fresh.model.pos_embed)
    assert not begun.model.pos_embed.requires_grad


def test_a_convolutional_network_takes_any_size(tmp_path: Path) -> None:
    encoder = build_encoder("resnet10_small", 16, seed=0)
    begun, images = start_from(str(save_encoder(encoder, tmp_path / "saved")), 32), torch.randn(2, 3, 32, 32)
    assert torch.equal(begun.eval()(images), encoder.eval()(images))


def test_arguments_that_change_no_weight_are_taken(saved: str) -> None:
    begun = start_from(saved, 16, {"drop_path_rate": 0.3})
    assert begun.model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("size", "args", "words"),
    [
        (16, {"depth": 3}, "'blocks.2.attn.proj.bias' would differ; take data.image_size=16"),
        (16, {"embed_dim": 64}, "would differ"),
        (18, {}, "patches of 4 px do not tile images of 18 px"),
    ],
)
def test_what_does_not_fit_is_refused(size: int, args: dict[str, int], words: str, saved: str) -> None:
    with pytest.raises(UsageError, match=words):
        start_from(saved, size, args)


def test_a_model_with_positions_of_its_own_keeps_its_size(tmp_path: Path) -> None:
    args = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2), "window_size": 7, "img_size": 56}
    saved = str(save_encoder(build_encoder("swin_tiny_patch4_window7_224", 56, args), tmp_path / "saved"))
    images = torch.randn(2, 3, 56, 56)
    assert torch.equal(start_from(saved, 56).eval()(images), load_encoder(saved).eval()(images))
    with pytest.raises(UsageError, match=r"take data\.image_size=56"):
        start_from(saved, 28)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("timm:vit_small_patch16_dinov3", "timm:vit_small_patch16_dinov3.lvd1689m"),
        ("timm:resnet18", "timm:resnet18.a1_in1k"),
        ("timm:resnet18.tv_in1k", "timm:resnet18.tv_in1k"),
        ("some/folder", "some/folder"),
    ],
)
def test_a_name_of_timm_means_its_published_weights(asked: str, found: str) -> None:
    assert start._published(asked) == found


def test_a_model_without_published_weights_is_no_start() -> None:
    with pytest.raises(UsageError, match="timm has no published weights of 'resnet10_small'"):
        start_from("timm:resnet10_small", 32)


def test_a_repository_of_the_hub_is_read_as_a_folder(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def fetched(repository: str, *, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        return saved

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert load_encoder("hf-hub:owner/name").fingerprint() == load_encoder(saved).fingerprint()
    assert asked == [("owner/name", ["*.json", "model.safetensors", "pytorch_model.bin"])]


def test_a_repository_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(
        UsageError, match=r"'hf-hub:owner/name' cannot be fetched \(no network\); check the name"
    ):
        load_encoder("hf-hub:owner/name")
