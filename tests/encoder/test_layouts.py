"""Encoders in other frameworks' files have the features of the network that was saved, or are refused."""

import argparse
import pickle
import re
import zipfile
from collections import defaultdict
from functools import partial
from http import HTTPStatus
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from lightly.models.modules import MaskedVisionTransformerTIMM
from omegaconf import OmegaConf
from torch import Tensor, nn

from selfsup import UsageError, load_encoder, save_encoder
from selfsup.commands.encoders import find_encoder
from selfsup.encoder.inert import Inert, load_tensors

State = dict[str, Tensor]


def network(name: str = "vit_tiny_patch16_224", **args: Any) -> Any:
    """A small network of timm with weights whose every tensor matters."""
    small = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 128, "num_heads": 2}
    model = timm.create_model(name, num_classes=0, **{**(small if name.startswith("vit") else {}), **args})
    return shaken(model)


def shaken(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = 0.1 * torch.randn(value.shape, generator=generator)
            value.copy_(noise.abs() + 0.5 if "running_var" in name else value + noise)
    return model.eval()


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def zeros(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def others(*names: str) -> State:
    return {name: torch.zeros(2, 3) for name in names}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


@torch.no_grad()
def assert_same(file: Path | str, expected: Any) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found, right = load_encoder(file).eval()(images), expected(images)
    assert right.std() > 0.01
    torch.testing.assert_close(
        found, right.reshape(found.shape), rtol=0, atol=1e-6 * float(right.abs().max())
    )


OF_TRANSFORMERS = {
    "DINO": lambda s: {
        "teacher": under("module.backbone.", s) | others("module.head.mlp.0.weight"),
        "student": zeros(under("module.backbone.", s)),
        "epoch": 3,
        "args": argparse.Namespace(lr=np.float64(0.1)),
    },
    "MAE": lambda s: {
        "model": s | others("mask_token", "decoder_blocks.0.norm1.weight", "decoder_embed.weight")
    },
    "I-JEPA": lambda s: {"encoder": zeros(under("module.", s)), "target_encoder": under("module.", s)},
    "MSN": lambda s: {
        "target_encoder": under("module.", s) | others("module.fc.fc1.weight", "module.pred.a")
    },
    "MoCo v3": lambda s: {
        "state_dict": under("module.base_encoder.", s | others("head.0.weight"))
        | zeros(under("module.momentum_encoder.", s))
        | others("module.predictor.0.weight")
    },
    "DINOv2's chunks": lambda s: {
        re.sub(r"^blocks\.(\d)", r"blocks.0.\1", name): value
        for name, value in (s | others("mask_token")).items()
    },
    "solo-learn": lambda s: {
        "state_dict": under("backbone.", s)
        | zeros(under("momentum_backbone.", s))
        | others("projector.0.weight", "classifier.weight"),
        "hyper_parameters": {"name": "run"},
    },
    "stable-pretraining": lambda s: {
        "state_dict": zeros(under("backbone.student.", s)) | under("backbone.teacher.", s)
    },
    "lightly": lambda s: {
        "state_dict": zeros(under("student_backbone.vit.", s)) | under("teacher_backbone.vit.", s)
    },
    "compiled": lambda s: {"state_dict": under("_orig_mod.module.", s)},
}


@pytest.mark.parametrize("framework", OF_TRANSFORMERS)
def test_a_vision_transformer_is_found_under_its_frameworks_names(framework: str, tmp_path: Path) -> None:
    model = network()
    assert_same(saved(OF_TRANSFORMERS[framework](model.state_dict()), tmp_path), model)


OF_RESNETS = {
    "torchvision": lambda s: s | others("fc.weight", "fc.bias"),
    "MoCo": lambda s: {
        "state_dict": under("module.encoder_q.", s | others("fc.0.weight"))
        | zeros(under("module.encoder_k.", s))
        | others("module.queue")
    },
    "SimSiam": lambda s: {"state_dict": under("module.encoder.", s) | others("module.predictor.0.weight")},
    "Barlow Twins": lambda s: {"model": under("module.backbone.", s) | others("module.projector.0.weight")},
    "SwAV": lambda s: under("module.", s | others("projection_head.0.weight", "prototypes.weight")),
    "VICReg": lambda s: s,
    "SparK, the encoder": lambda s: s,
    "SparK, all": lambda s: {
        "module": under("sparse_encoder.sp_cnn.", s) | others("dense_decoder.dec.0.weight", "mask_tokens.0")
    },
    "lightly-train": lambda s: under("wrapped_model._model.", s) | others("embed_head.weight"),
    "without counts of batches": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("framework", OF_RESNETS)
def test_a_resnet_is_found_under_its_frameworks_names(framework: str, tmp_path: Path) -> None:
    model = network("resnet18")
    assert_same(saved(OF_RESNETS[framework](model.state_dict()), tmp_path), model)


def test_torchvisions_own_networks(tmp_path: Path) -> None:
    vit: Any = shaken(torchvision.models.VisionTransformer(32, 8, 2, 2, 128, 256))
    file = saved(vit.state_dict(), tmp_path)
    vit.heads = nn.Identity()
    assert_same(file, vit)
    resnet: Any = shaken(torchvision.models.resnet50())
    resnet.fc = nn.Identity()
    assert_same(saved(resnet.state_dict(), tmp_path), resnet)


def test_lightlys_own_modules(tmp_path: Path) -> None:
    cut = nn.Sequential(*list(shaken(torchvision.models.resnet18()).children())[:-1]).eval()
    assert_same(saved({"state_dict": under("backbone.", cut.state_dict())}, tmp_path), cut)
    model = network()
    masked = MaskedVisionTransformerTIMM(vit=model).eval()
    state = {**under("backbone.", masked.state_dict()), **others("projection_head.0.weight")}
    assert_same(saved({"state_dict": state}, tmp_path), masked)


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    """A state under other names, by plain substitution."""
    found = {}
    for name, value in state.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        found[name] = value
    return found


def in_thirds(state: State, theirs: str) -> State:
    """Queries, keys and values apart, as transformers has them."""
    found = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[name.replace("attn.qkv", theirs.format(part))] = third
        else:
            found[name] = value
    return found


HUGGING = (
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("blocks.", "encoder.layer."),
    ("attn.proj", "attention.output.dense"),
)


def test_transformers_vit_and_dinov2(tmp_path: Path) -> None:
    vit = network(norm_layer="layernorm", init_values=None)
    for each in (each for each in vit.modules() if isinstance(each, nn.LayerNorm)):
        each.eps = 1e-12
    state = renamed(
        in_thirds(vit.state_dict(), "attention.attention.{}"),
        *HUGGING,
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    )
    state["layernorm.weight"], state["layernorm.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    folder = tmp_path / "vit"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "vit", "num_attention_heads": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}'
    )
    (folder / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.4, 0.4, 0.4]}'
    )
    torch.save(under("vit.", state) | others("classifier.weight"), folder / "pytorch_model.bin")
    assert_same(folder, vit)
    encoder = load_encoder(folder)
    assert encoder.mean == (0.5, 0.5, 0.5)
    assert encoder.std == (0.4, 0.4, 0.4)

    dino = network("vit_small_patch14_dinov2")
    state = renamed(
        in_thirds(dino.state_dict(), "attention.attention.{}"),
        *HUGGING,
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
    )
    state["layernorm.weight"], state["layernorm.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    assert_same(saved(state | others("embeddings.mask_token"), tmp_path), dino)


def test_registers_and_gated_layers_of_dinov2(tmp_path: Path) -> None:
    model = network("vit_giant_patch14_reg4_dinov2", mlp_ratio=2.0)
    state = renamed(
        model.state_dict(), ("mlp.fc1", "mlp.w12"), ("mlp.fc2", "mlp.w3"), ("reg_token", "register_tokens")
    )
    own = torch.full((1, 1, 128), 0.25)  # the class token's position, which timm adds beforehand
    state["pos_embed"] = torch.cat([own, state["pos_embed"]], dim=1)
    state["cls_token"] = state["cls_token"] - own
    model.cls_token.data = state["cls_token"] + own  # to the bit
    assert_same(saved(state | others("mask_token"), tmp_path), model)


def test_openclip_and_mmpretrain(tmp_path: Path) -> None:
    clip = network("vit_base_patch16_clip_224")
    state = renamed(
        clip.state_dict(),
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("blocks.", "transformer.resblocks."),
        ("norm1", "ln_1"),
        ("norm2", "ln_2"),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    )
    state["class_embedding"], state["positional_embedding"] = (
        state.pop("cls_token")[0, 0],
        state.pop("pos_embed")[0],
    )
    state["ln_post.weight"], state["ln_post.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    text = others("transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "positional_embedding")
    assert_same(saved(under("visual.", state | others("proj")) | text, tmp_path), clip)

    model = network()
    state = renamed(
        model.state_dict(),
        ("patch_embed.proj", "patch_embed.projection"),
        ("blocks.", "layers."),
        ("norm1", "ln1"),
        ("norm2", "ln2"),
        ("mlp.fc1", "ffn.layers.0.0"),
        ("mlp.fc2", "ffn.layers.1"),
    )
    state["ln1.weight"], state["ln1.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    assert_same(saved({"state_dict": under("backbone.", state)}, tmp_path), model)


def test_patches_are_averaged_where_there_is_no_class_token(tmp_path: Path) -> None:
    model = network(class_token=False, global_pool="avg", fc_norm=False)
    assert_same(saved(model.state_dict(), tmp_path), model)
    tuned = network(global_pool="avg")
    assert_same(saved(tuned.state_dict(), tmp_path), tuned)


def test_heads_that_no_tensor_shows(tmp_path: Path) -> None:
    twelve = network(embed_dim=384, num_heads=12)
    state = twelve.state_dict()
    assert_same(saved({"state_dict": under("module.base_encoder.", state)}, tmp_path), twelve)
    solo = under("backbone.", state) | others("classifier.weight", "decoder.norm.weight")
    assert_same(saved({"state_dict": solo}, tmp_path), twelve)
    ambiguous = solo | others("momentum_backbone.norm.weight", "predictor.0.weight")
    ambiguous.pop("decoder.norm.weight")
    with pytest.raises(UsageError, match="solo-learn's MoCo v3 has 12 heads"):
        load_encoder(saved({"state_dict": ambiguous}, tmp_path))
    assert_same(f"{tmp_path / 'weights.pth'}#heads=12", twelve)
    assert_same(f"{tmp_path / 'weights.pth'}#backbone,heads=12", twelve)
    for wrong in ("0", "twelve", ""):
        with pytest.raises(UsageError, match=f"'{wrong}' is not a number of heads"):
            load_encoder(f"{tmp_path / 'weights.pth'}#heads={wrong}")
    with pytest.raises(UsageError, match="width 384 cannot have 5 heads"):
        load_encoder(f"{tmp_path / 'weights.pth'}#heads=5")
    with pytest.raises(UsageError, match="how many heads attention of width 96 has"):
        load_encoder(saved(network(embed_dim=96, num_heads=3).state_dict(), tmp_path))


def test_solo_learns_small_resnet_has_a_wider_border(tmp_path: Path) -> None:
    model = network("resnet18_small", stem_padding=2)
    state = under("backbone.", model.state_dict()) | others("classifier.weight")
    assert_same(saved({"state_dict": state}, tmp_path), model)


def test_a_file_of_several_encoders_gives_the_one_that_is_named(tmp_path: Path) -> None:
    student, teacher = network(), network(depth=1)
    state = under("student_backbone.", student.state_dict()) | under(
        "teacher_backbone.", teacher.state_dict()
    )
    file = saved({"state_dict": state}, tmp_path)
    assert_same(file, teacher)
    assert_same(f"{file}#student_backbone", student)
    with pytest.raises(UsageError, match="no encoder of a known layout under 'nobody'"):
        load_encoder(f"{file}#nobody")


def test_what_was_read_can_be_saved_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = network()
    encoder = load_encoder(saved(model.state_dict() | others("head.weight", "head.bias"), tmp_path))
    assert "2 heads" in caplog.text
    assert "left out: head (2)" in caplog.text
    folder = save_encoder(encoder, tmp_path / "encoder")
    assert_same(folder, model)
    assert_same(find_encoder(str(tmp_path / "weights.pth")), model)
    with pytest.raises(UsageError, match="is a part of an encoder; name its folder"):
        load_encoder(folder / "model.safetensors")


def test_a_prefix_may_follow_a_name_that_timm_has_too(tmp_path: Path) -> None:
    model = network("resnet18")
    file = saved({"state_dict": under("backbone.", model.state_dict())}, tmp_path)
    named = file.rename(tmp_path / "resnet18.pth")
    assert_same(find_encoder(f"{named}#backbone"), model)


class Hostile:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def bad_contents() -> dict[str, tuple[Any, str]]:
    state = network().state_dict()
    return {
        "a pickle with code": ({"model": state, "args": Hostile()}, "would run code in it"),
        "text": ({"embed.weight": torch.zeros(3, 2)}, "no encoder of a known layout: it has embed.weight"),
        "nothing": ([], "it has no tensors"),
        "a block is missing": (
            {key: value for key, value in state.items() if not key.startswith("blocks.0.")},
            "are not whole: they have no 'blocks.0.mlp.fc1.weight'",
        ),
        "a norm is missing": (
            {key: value for key, value in state.items() if key != "norm.bias"},
            "1 tensors differ, 'norm.bias' among them",
        ),
        "one layer too many": (state | others("norm3.weight"), "'norm3.weight' among them"),
        "other shape": (state | {"norm.bias": torch.zeros(3)}, "'norm.bias' among them"),
        "many channels": (
            state | {"patch_embed.proj.weight": torch.zeros(128, 17, 8, 8)},
            "images of 17 channels are not supported",
        ),
        "a volume": (
            state | {"patch_embed.proj.weight": torch.zeros(128, 3, 2, 8, 8)},
            "not square ones of an image",
        ),
        "not square": (
            state | {"pos_embed": torch.zeros(1, 13, 128)},
            "12 position embeddings are not those of a square image",
        ),
        "rotary": ({k: v for k, v in state.items() if k != "pos_embed"}, "rotary ones are not read"),
        "DINOv3": (state | others("rope_embed.periods"), "DINOv3; name timm's"),
        "BEiT": (state | others("blocks.0.attn.q_bias"), "BEiT, SimMIM or Swin"),
        "ConvNeXt": (others("downsample_layers.0.0.weight"), "ConvNeXt"),
        "CAPI": (state | others("blocks.0.residual1.fn.a"), "CAPI"),
        "registers alone": (
            {k: v for k, v in state.items() if k != "cls_token"}
            | {"register_tokens": torch.zeros(1, 4, 128)},
            "are not whole: they have no 'cls_token'",
        ),
        "registers of another width": (
            state | {"register_tokens": torch.zeros(1, 4, 8), "cls_token": torch.zeros(1, 1, 8)},
            "do not fit together",
        ),
        "a number too long": (state | others(f"blocks.{'9' * 5000}.norm1.weight"), "do not fit together"),
        "a line for a matrix": (
            state | {"blocks.0.mlp.fc2.weight": torch.zeros(3)},
            "do not fit together",
        ),
        "nothing in a group": (
            {**network("resnet50").state_dict(), "layer1.0.conv2.weight": torch.zeros(64, 0, 3, 3)},
            "do not fit together",
        ),
        "a wide ResNet": (
            {**network("resnet18").state_dict(), "conv1.weight": torch.zeros(128, 3, 7, 7)},
            "begins with 128 channels",
        ),
    }


@pytest.mark.parametrize("kind", bad_contents())
def test_another_content_is_refused_in_a_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, said = bad_contents()[kind]
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        load_encoder(saved(content, tmp_path))
    assert str(caught.value).count("weights.pth") == 1
    assert not Path("executed").exists()


SETTINGS: dict[str, Any] = {
    "omegaconf": OmegaConf.create({"a": {"b": [1, 2.5, "x"]}, "c": "${a.b}"}),
    "a dictionary with a default": defaultdict(dict, {"a": {"b": 1}}),
    "a path": PosixPath("/data"),
    "a function with arguments": partial(dict, a=1),
    "numbers of numpy": {"array": np.arange(3), "number": np.float16(2)},
    "an enumeration": HTTPStatus.OK,
}


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "an enumeration"])
def test_settings_beside_the_weights_are_left_alone(kind: str, tmp_path: Path) -> None:
    model = network("resnet18")
    content = {"state_dict": under("backbone.", model.state_dict()), "hyper_parameters": SETTINGS[kind]}
    assert_same(saved(content, tmp_path), model)
    found = load_tensors(saved(content, tmp_path))["hyper_parameters"]
    inside = found.values() if isinstance(found, dict) else [found]
    assert all(isinstance(each, Inert) for each in inside)


def test_objects_of_packages_that_are_not_known_for_settings_are_refused(tmp_path: Path) -> None:
    content = {"state_dict": network().state_dict(), "status": SETTINGS["an enumeration"]}
    with pytest.raises(UsageError, match="holds more than tensors"):
        load_encoder(saved(content, tmp_path))


def test_a_script_is_refused_also_where_its_records_are_not_compressed(tmp_path: Path) -> None:
    file = saved({"settings": SETTINGS["omegaconf"]}, tmp_path)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(pickle.UnpicklingError, match="a script"):
        load_tensors(file)


def test_a_file_cut_short_or_of_no_framework_is_refused(tmp_path: Path) -> None:
    file = saved(network().state_dict(), tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UsageError, match="is damaged"):
        load_encoder(file)
    for content in (b"", b"not weights", pickle.dumps([1, 2])):
        file.write_bytes(content)
        with pytest.raises(UsageError):
            load_encoder(file)
    file.rename(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("config", "prepared", "said"),
    [
        ('"hidden_act": "quick_gelu"', "{}", "the activation 'quick_gelu'"),
        ('"num_attention_heads": 3', "{}", "attention of width 128 cannot have 3 heads"),
        ('"num_attention_heads": "2"', "{}", "cannot have 2 heads"),
        ('"layer_norm_eps": 0.1', "{}", "norms that add 0.1"),
        ('"layer_norm_eps": [1]', "{}", r"norms that add \[1\]"),
        (
            '"hidden_act": "gelu"',
            '{"image_std": [0.2, 0.2, 0]}',
            "the image_std .* not that of three colours",
        ),
        ('"hidden_act": "gelu"', '{"image_mean": 0.5}', "the image_mean 0.5, not"),
        ('"hidden_act": "gelu"', "[]", "preprocessor_config.json' is damaged"),
    ],
)
def test_what_a_folder_says_is_checked(config: str, prepared: str, said: str, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(f'{{"model_type": "vit", {config}}}')
    (tmp_path / "preprocessor_config.json").write_text(prepared)
    with pytest.raises(UsageError, match=said):
        load_encoder(tmp_path)
