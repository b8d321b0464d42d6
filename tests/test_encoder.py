"""A saved encoder is the encoder: for us, for timm without us, and only if nothing is missing or too much."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from selfsup import UsageError, load_encoder, save_encoder
from selfsup.encoder import Encoder, build_encoder, sincos_positions

SMALL_VIT = {
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "class_token": True,
    "global_pool": "avg",
    "fc_norm": False,
    "dynamic_img_size": True,
}
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
# name -> arguments of build_encoder; the last of timm's names brings a tag along.
STOCK: dict[str, dict[str, Any]] = {
    "vit": {"name": "vit_tiny_patch16_224", "image_size": 16, "model_args": SMALL_VIT, "positions": "sincos"},
    "learned": {
        "name": "vit_tiny_patch16_224",
        "image_size": 24,
        "model_args": SMALL_VIT | {"class_token": False},
    },
    "convnext": {"name": "convnext_atto", "image_size": 32},
    "resnet": {"name": "resnet18.a1_in1k", "image_size": 32},
}
OURS: dict[str, dict[str, Any]] = {
    "ours": {"name": "resnet10_small", "image_size": 16},
    "strided": {"name": "resnet10_small", "image_size": 16, "model_args": {"stem_stride": 2}},
}


def small_vit(**changes: Any) -> Encoder:
    recipe = {**STOCK["vit"], "seed": 0, **changes}
    return build_encoder(**recipe).eval()


def images_for(encoder: Encoder, n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, encoder.channels, *encoder.input_size, generator=generator)


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Encoder, Path]]:
    """Encoders that were trained a little, as far as batch-norm is concerned, and their folders."""
    root, encoders = tmp_path_factory.mktemp("encoders"), {}
    for name, recipe in (STOCK | OURS).items():
        encoder = build_encoder(**recipe, mean=MEAN, std=STD, seed=3)
        encoder.train()(images_for(encoder, 8))
        encoders[name] = encoder.eval(), save_encoder(encoder, root / name, {"method": "none"})
    return encoders


@pytest.mark.parametrize("name", [*STOCK, *OURS])
def test_saved_and_loaded_it_is_the_same(name: str, saved: dict[str, tuple[Encoder, Path]]) -> None:
    encoder, folder = saved[name]
    again = load_encoder(folder).eval()
    assert torch.equal(again(images_for(encoder)), encoder(images_for(encoder)))
    assert (again.input_size, again.dim, again.mean, again.std) == (
        encoder.input_size,
        encoder.dim,
        MEAN,
        STD,
    )
    assert again.fingerprint() == encoder.fingerprint() == again.card["fingerprint"]
    assert again.recipe == encoder.recipe
    assert again.card["method"] == "none"
    assert again.probe() == pytest.approx(again.card["features_of_fixed_input"], abs=1e-6)
    if encoder.has_tokens:
        assert torch.equal(again.tokens(images_for(encoder)), encoder.tokens(images_for(encoder)))


WITHOUT_US = """
import json, sys
import timm, torch
from safetensors.torch import load_file

def error(folder):
    tensors = load_file(f"{folder}/../features.safetensors")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    name = folder.rpartition("/")[2]
    with torch.no_grad():
        features = model(tensors[f"{name} images"])
    return [name, (features - tensors[f"{name} features"]).abs().max().item()]

stock, ours = (json.loads(argument) for argument in sys.argv[1:])
errors = [error(folder) for folder in stock]
loaded = [name for name in sys.modules if name.partition(".")[0] == "selfsup"]
import selfsup.backbones
errors += [error(folder) for folder in ours]

print(json.dumps({"errors": errors, "loaded": loaded}))
"""


def run(code: str, *arguments: object) -> Any:
    command = [sys.executable, "-c", code, *map(json.dumps, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_timm_loads_it_without_us_and_our_names_once_they_are_registered(
    saved: dict[str, tuple[Encoder, Path]],
) -> None:
    tensors = {}
    for name, (encoder, _) in saved.items():
        tensors[f"{name} images"] = images_for(encoder)
        tensors[f"{name} features"] = encoder(images_for(encoder))
    save_file(tensors, saved["vit"][1].parent / "features.safetensors")
    stock, ours = ([str(saved[name][1]) for name in group] for group in (STOCK, OURS))
    answer = run(WITHOUT_US, stock, ours)
    assert answer["loaded"] == []
    assert {name for name, _ in answer["errors"]} == {*STOCK, *OURS}
    assert max(error for _, error in answer["errors"]) < 1e-6


def test_importing_us_installs_nothing() -> None:
    code = "import json, sys; before = list(sys.meta_path); import selfsup; "
    code += "print(json.dumps([sys.meta_path == before, 'timm' in sys.modules, 'torch' in sys.modules]))"
    assert run(code) == [True, False, False]


def test_there_is_no_pickle_in_it(
    saved: dict[str, tuple[Encoder, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("unpickled")

    for module, function in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, function, refuse)
    _, folder = saved["vit"]
    load_encoder(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "config.json", "model.safetensors"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    encoder = small_vit()
    (tmp_path / "empty").mkdir()
    save_encoder(encoder, tmp_path / "empty")
    (tmp_path / "note").write_text("precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for taken in ("empty", "note"):
        with pytest.raises(UsageError, match="is taken"):
            save_encoder(small_vit(seed=1), tmp_path / taken)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def edit(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        kept = {key: value for key, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))

    return apply


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def with_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "it has no model.safetensors"),
    "config no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json' is damaged"),
    "config no object": (lambda folder: (folder / "config.json").write_text("[]"), "config.json' is damaged"),
    "config no text": (
        lambda folder: (folder / "config.json").write_bytes(b"\xff\x00"),
        "config.json' is damaged",
    ),
    "card no JSON": (lambda folder: (folder / "card.json").write_text(""), "card.json' is damaged"),
    "no architecture": (edit(architecture=None), "not an encoder's configuration: it has no 'architecture'"),
    "no preprocessing": (
        edit(pretrained_cfg=None),
        "not an encoder's configuration: it has no 'pretrained_cfg'",
    ),
    "unknown architecture": (
        edit(architecture="vit_tiny_patch16_242"),
        "did you mean 'vit_tiny_patch16_224'",
    ),
    "other architecture": (
        edit(architecture="resnet18", model_args={}),
        "another architecture .* tensors differ",
    ),
    "other width": (edit(model_args=SMALL_VIT | {"embed_dim": 64}), "another architecture .* tensors differ"),
    "other depth": (edit(model_args=SMALL_VIT | {"depth": 1}), "another architecture .* tensors differ"),
    "unknown argument": (edit(model_args={"deep": 1}), "cannot be built with .*deep"),
    "truncated": (truncate, "model.safetensors' is damaged"),
    "empty": (
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        "model.safetensors' is damaged",
    ),
    "key too few": (with_weights(lambda state: state.pop("norm.bias")), "1 tensors differ, 'norm.bias'"),
    "key too many": (
        with_weights(lambda state: state.update(more=torch.zeros(1))),
        "1 tensors differ, 'more'",
    ),
    "prefixed keys": (
        with_weights(lambda state: state.update({f"model.{key}": state.pop(key) for key in list(state)})),
        "tensors differ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_in_a_sentence(
    damage: str, saved: dict[str, tuple[Encoder, Path]], tmp_path: Path
) -> None:
    harm, words = DAMAGE[damage]
    folder = tmp_path / "encoder"
    shutil.copytree(saved["vit"][1], folder)
    harm(folder)
    with pytest.raises(UsageError) as caught:
        load_encoder(folder)
    assert re.search(words, str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_card_is_not_needed(saved: dict[str, tuple[Encoder, Path]], tmp_path: Path) -> None:
    encoder, folder = saved["vit"]
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / "card.json").unlink()
    again = load_encoder(tmp_path / "encoder").eval()
    assert again.card == {}
    assert torch.equal(again(images_for(encoder)), encoder(images_for(encoder)))


def test_sequence_is_what_timm_computes() -> None:
    for changes in ({"class_token": True}, {"class_token": False}, {"reg_tokens": 2}):
        encoder = small_vit(model_args=SMALL_VIT | changes)
        assert torch.equal(
            encoder.sequence(images_for(encoder)), encoder.model.forward_features(images_for(encoder))
        )
        prefix = int(changes.get("class_token", True)) + changes.get("reg_tokens", 0)
        assert encoder.prefix == prefix
        assert encoder.grid == (4, 4)
        assert encoder.tokens(images_for(encoder)).shape == (3, 16, 32)


def test_pooled_features_are_the_mean_of_the_tokens() -> None:
    encoder = small_vit()
    images = images_for(encoder)
    torch.testing.assert_close(encoder.tokens(images).mean(dim=1), encoder(images), atol=1e-6, rtol=0)
    token = small_vit(model_args=SMALL_VIT | {"global_pool": "token"})
    torch.testing.assert_close(token.sequence(images)[:, 0], token(images), atol=1e-6, rtol=0)


def test_keeping_every_patch_is_keeping_none_back() -> None:
    encoder = small_vit()
    images, everything = images_for(encoder), torch.arange(16).expand(3, -1)
    assert torch.equal(encoder.sequence(images, everything), encoder.sequence(images))
    # In another order, the same tokens in that order: positions were added before.
    shuffled = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    expected = torch.stack(
        [tokens[order] for tokens, order in zip(encoder.tokens(images), shuffled, strict=True)]
    )
    torch.testing.assert_close(encoder.tokens(images, shuffled), expected, atol=1e-5, rtol=0)


def test_kept_patches_are_encoded_as_if_the_others_were_not_there() -> None:
    encoder = small_vit()
    images, keep = images_for(encoder, 2), torch.tensor([[0, 3, 5], [15, 6, 9]])
    vit = encoder.model
    embedded = vit.patch_embed(images).flatten(1, 2) + vit.pos_embed[:, 1:]
    kept = torch.stack([tokens[index] for tokens, index in zip(embedded, keep, strict=True)])
    sequence = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1), kept], dim=1)
    for block in vit.blocks:
        sequence = block(sequence)
    expected = vit.norm(sequence)
    torch.testing.assert_close(encoder.sequence(images, keep), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.tokens(images, keep), expected[:, 1:], atol=1e-6, rtol=0)
    # Patch 5 is rows 4 to 7 and columns 4 to 7 of 4 x 4 patches of 4 pixels; 6 is to its right.
    for column, matters in ((4, True), (8, False)):
        changed = images.clone()
        changed[0, :, 4:8, column : column + 4] += 1
        assert torch.equal(encoder.tokens(changed, keep), encoder.tokens(images, keep)) != matters


def test_a_network_without_tokens_says_what_has_some() -> None:
    encoder = build_encoder("resnet10_small", 16)
    assert not encoder.has_tokens
    assert encoder.prefix == 0
    with pytest.raises(UsageError, match=r"'resnet10_small' has no patch tokens that .*vit_small"):
        encoder.tokens(torch.zeros(1, 3, 16, 16))


def test_sincos_positions_are_those_of_mae() -> None:
    table = sincos_positions((4, 4), 8)
    first = torch.tensor([0.841471, 0.0099998, 0.540302, 0.99995])
    rest = torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(table[1], torch.cat([first, rest]), atol=1e-6, rtol=0)  # row 0, column 1
    torch.testing.assert_close(table[4], torch.cat([rest, first]), atol=1e-6, rtol=0)  # row 1, column 0
    assert torch.equal(sincos_positions((2, 3), 8)[3:], sincos_positions((4, 4), 8)[[4, 5, 6]])
    with pytest.raises(UsageError, match="divisible by 4, not 6"):
        sincos_positions((2, 2), 6)


def test_fixed_positions_are_fixed_and_leave_the_class_token_alone() -> None:
    positions = small_vit().model.pos_embed
    assert not positions.requires_grad
    assert torch.equal(positions[0, 0], torch.zeros(32))
    assert torch.equal(positions[0, 1:], sincos_positions((4, 4), 32))
    learned = small_vit(positions="learned").model.pos_embed
    assert learned.requires_grad
    assert not torch.allclose(learned, positions)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_untrained_is_reproducible_and_not_the_trained_one(
    name: str, saved: dict[str, tuple[Encoder, Path]]
) -> None:
    trained, _ = saved[name]
    state = torch.get_rng_state()
    one, same, other = (trained.untrained(seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.fingerprint() == same.fingerprint()
    assert len({one.fingerprint(), other.fingerprint(), trained.fingerprint()}) == 3
    assert (one.recipe, one.mean, one.std) == (trained.recipe, MEAN, STD)
    shapes = [{key: value.shape for key, value in e.state_dict().items()} for e in (one, trained)]
    assert shapes[0] == shapes[1]
    images = images_for(trained)
    assert torch.equal(one.eval()(images), same.eval()(images))
    assert not torch.allclose(one(images), trained(images), atol=1e-3)


def test_the_fingerprint_sees_every_weight_and_the_statistics() -> None:
    encoder = small_vit()
    before = encoder.fingerprint()
    encoder.model.blocks[1].mlp.fc2.bias[3] += 1e-6
    assert encoder.fingerprint() != before
    assert small_vit(mean=MEAN).fingerprint() != before == small_vit().fingerprint()


def test_probing_leaves_the_mode_and_the_statistics() -> None:
    encoder = build_encoder("resnet10_small", 16, seed=0).train()
    before = encoder.fingerprint()
    assert len(encoder.probe()) == 8
    assert encoder.training
    assert encoder.fingerprint() == before


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"])
def test_the_width_is_that_of_the_features(name: str) -> None:
    encoder = build_encoder(name, 224, seed=0).train()
    encoder.require_size(224)
    assert encoder.training
    with torch.no_grad():
        assert encoder.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, encoder.dim)


def test_timm_names_are_encoders() -> None:
    encoder = load_encoder("timm:resnet18")
    assert (encoder.dim, encoder.input_size, encoder.card) == (512, (224, 224), {})
    assert encoder.mean == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: load_encoder("timm:resnet81"), "did you mean .*'resnet18'"),
        (
            lambda: load_encoder("timm:resnet18.nope"),
            "no weights 'resnet18.nope'; there are .*resnet18.a1_in1k",
        ),
        (lambda: build_encoder("resnet10_small.some", 32), "no weights .*; there are none of resnet10_small"),
        (
            lambda: build_encoder("resnet10_small", 32, pretrained=True),
            "cannot be built .*No pretrained weights",
        ),
        (lambda: small_vit(image_size=18), "patches of 4 px do not tile images of 18 px"),
        # timm itself would only look at the first 16 pixels.
        (lambda: build_encoder("vit_tiny_patch16_224", 24, {"depth": 1}), "patches of 16 px do not tile"),
        (lambda: small_vit(model_args=SMALL_VIT | {"num_heads": 5}), "cannot be built with"),
        (lambda: small_vit(model_args=SMALL_VIT | {"deep": 5}), "cannot be built with .*deep"),
        (lambda: small_vit(model_args=SMALL_VIT | {"depth": -1}), "cannot be built with"),
        (lambda: small_vit(model_args=SMALL_VIT | {"embed_dim": 30}), "divisible by 4, not 30"),
    ],
)
def test_what_cannot_be_built_is_told(build: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build()


def test_our_stem_keeps_the_resolution() -> None:
    """SimCLR's small-image stem: 3 x 3, stride 1, no pooling, then timm's own stages."""
    for name, dim in (("resnet10_small", 256), ("resnet18_small", 512)):
        model = build_encoder(name, 32).model
        assert isinstance(model.conv1, nn.Conv2d)
        assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (1, 1))
        assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, dim, 4, 4)
        assert [info["reduction"] for info in model.feature_info] == [1, 1, 2, 4, 8]
    strided = build_encoder(**OURS["strided"]).model
    assert strided.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 256, 2, 2)
