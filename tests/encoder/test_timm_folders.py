"""A folder that timm wrote is the encoder that timm reads from it, to the bit, or refused in a sentence."""

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from selfsup import UsageError, build_encoder, load_encoder, save_encoder
from selfsup.encoder import check_saveable

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}
SWIN = {"img_size": 56, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2)}
# Of each family a small one: timm's name, and arguments.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("resnet10t", {"global_pool": "max"}),
    "both pools": ("resnet10t", {"global_pool": "catavgmax"}),
    "our own": ("resnet10_small", {"stem_stride": 2}),
    "convnext": ("test_convnext", {}),
    "registers": ("vit_tiny_patch16_224", {**VIT, "img_size": 40, "reg_tokens": 3, "no_embed_class": True}),
    "normalised pool": ("vit_tiny_patch16_224", {**VIT, "img_size": 48, "global_pool": "avg"}),
    "any size": ("vit_tiny_patch16_224", {**VIT, "dynamic_img_size": True, "img_size": 96}),
    "rotary": ("eva02_tiny_patch14_224", {"img_size": 28, "embed_dim": 32, "depth": 1, "num_heads": 2}),
    "swin": ("swin_tiny_patch4_window7_224", SWIN),
    "efficientnet": ("test_efficientnet", {}),
    "mobilenet": ("mobilenetv3_small_050", {}),
    "deit3": ("deit3_small_patch16_224", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    "two heads": ("deit_tiny_distilled_patch16_224", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    "beit": ("beit_base_patch16_224", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    "normalised head": ("levit_128s", {}),
    "shared tensors": ("coat_lite_tiny", {"serial_depths": (1, 1, 1, 1)}),
}
Content = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def made(name: str, classes: int = 0, **args: Any) -> Any:
    """A model of timm's whose batch norms have seen something."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes, **args)
    model.train()(images_of(model, args.get("img_size")))
    return model.eval()


def images_of(model: Any, size: int | None = None) -> torch.Tensor:
    """Of the size that the model is for; smaller ones where it takes any."""
    size = size or model.pretrained_cfg["input_size"][-1]
    size = size if model.pretrained_cfg["fixed_input_size"] else min(size, 64)
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def timms(folder: Path, images: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of the size that timm says, or those given, and its features of them."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    images = images_of(model) if images is None else images
    return images, model(images)


def require_timms(folder: Path) -> Any:
    images, expected = timms(folder)
    encoder = load_encoder(folder).eval()
    assert torch.equal(encoder(images), expected)
    assert encoder.dim == expected.shape[-1]
    return encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_timms_with_a_classifier_and_without(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, args = FAMILIES[family]
    save_for_hf(made(name, 7, **args), tmp_path / "seven")
    assert not (tmp_path / "seven" / "model.safetensors").exists()
    require_timms(tmp_path / "seven")
    assert "the classifier in" in caplog.text
    assert "7 classes" in caplog.text
    caplog.clear()
    save_for_hf(made(name, **args), tmp_path / "none", safe_serialization=family != "shared tensors")
    encoder = require_timms(tmp_path / "none")
    assert "classifier" not in caplog.text
    # And once more, by way of ours.
    again = load_encoder(save_encoder(encoder, tmp_path / "ours")).eval()
    images, expected = timms(tmp_path / "ours", timms(tmp_path / "none")[0])
    assert torch.equal(again(images), expected)
    assert again.fingerprint() == encoder.fingerprint()
    assert again.resizing == encoder.resizing is not None
    assert torch.equal(expected, encoder.eval()(images))


def test_our_own_encoder_saved_again_by_timm(tmp_path: Path) -> None:
    args = {**VIT, "dynamic_img_size": True, "global_pool": "avg", "fc_norm": False}
    encoder = build_encoder(
        "vit_tiny_patch16_224", 24, args, "sincos", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    ).eval()
    ours = save_encoder(encoder, tmp_path / "ours")
    save_for_hf(
        timm.create_model(f"local-dir:{ours}", pretrained=True), tmp_path / "timms", safe_serialization=True
    )
    again = require_timms(tmp_path / "timms")
    images = torch.randn(2, 3, 24, 24)
    assert torch.equal(again(images), encoder(images))
    assert (again.mean, again.std, again.input_size) == (encoder.mean, encoder.std, (24, 24))


def flat(config: Content) -> Content:
    """As timm wrote it before ``pretrained_cfg`` stood apart."""
    cfg = config.pop("pretrained_cfg")
    config.pop("model_args")
    config.pop("global_pool")
    return {**config, **cfg}


CONFIGS: dict[str, Callable[[Content], Content]] = {
    "flat": flat,
    "tag": lambda config: {**config, "architecture": "resnet10t.c3_in1k"},
    "deprecated": lambda config: {**config, "architecture": "ssl_resnet18"},
    "labels": lambda config: {**config, "label_names": [str(i) for i in range(1000)]},
    "other facts": lambda config: {**config, "num_features": 3, "global_pool": "max", "tags": ["a"]},
    "channels": lambda config: {**config, "model_args": {**config["model_args"], "in_chans": 3}},
    "no arguments": lambda config: {key: value for key, value in config.items() if key != "model_args"},
    "null arguments": lambda config: {**config, "model_args": {**config["model_args"], "drop_rate": None}},
    "classes below": lambda config: {key: value for key, value in config.items() if key != "num_classes"},
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("classes", [0, 5])
def test_configurations_of_other_versions(kind: str, classes: int, tmp_path: Path) -> None:
    name = "resnet18" if kind == "deprecated" else "resnet10t"
    save_for_hf(made(name, classes), tmp_path, safe_serialization=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS[kind](json.loads(path.read_text()))))
    require_timms(tmp_path)


@pytest.mark.parametrize("kind", ["state_dict", "model", "wrapped"])
def test_a_checkpoint_as_weights(kind: str, tmp_path: Path) -> None:
    save_for_hf(made("resnet10t", 5), tmp_path)
    weights = tmp_path / "pytorch_model.bin"
    state = torch.load(weights, weights_only=True)
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save(wrapped if kind == "wrapped" else {kind: state, "epoch": 3}, weights)
    require_timms(tmp_path)


def test_layers_that_had_other_names(tmp_path: Path) -> None:
    """An older timm put the reduction of a Swin at the end of a stage, and kept an index and a mask."""
    name, args = FAMILIES["swin"]
    save_for_hf(made(name, 5, **args), tmp_path, safe_serialization=True)
    state = load_file(tmp_path / "model.safetensors")
    renamed = {
        key.replace("layers.1.downsample", "layers.0.downsample"): value for key, value in state.items()
    }
    renamed = {key.replace("head.fc", "head"): value for key, value in renamed.items()}
    save_file(renamed | {"layers.0.blocks.0.attn_mask": torch.zeros(1)}, tmp_path / "model.safetensors")
    require_timms(tmp_path)


def without(*starts: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        kept = {name: value for name, value in state.items() if not name.startswith(starts)}
        torch.save(kept, folder / "pytorch_model.bin")

    return apply


def with_config(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            (config if key in config else config["pretrained_cfg"])[key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return apply


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "half a network": (without("layer3", "layer4"), "another architecture .* tensors differ"),
    "no classifier where there is one": (without("fc.weight"), "1 tensors differ, 'fc.weight'"),
    "other classes": (with_config(model_args={"num_classes": 6}), "2 tensors differ, 'fc"),
    "more classes than there are": (
        with_config(model_args={"num_classes": 2**20}),
        "another architecture|much larger",
    ),
    "seventeen channels": (with_config(model_args={"in_chans": 17}), "of 17 channels; 1 to 16 are supported"),
    "colours of one channel": (
        with_config(model_args={"in_chans": 1}, mean=[0.5] * 3),
        r"mean \(0.5, 0.5, 0.5\) and std .* of 1 channels",
    ),
    "no pooling": (with_config(model_args={"global_pool": ""}), "features of shape .*set global_pool"),
    "no size": (with_config(input_size=[3, 0, 0]), "0 x 0 px"),
    "other resizing": (with_config(interpolation="random"), "interpolation 'random' is none of nearest"),
    "other crop": (with_config(crop_mode="five"), "crop_mode 'five' is none of center"),
    "endless": (with_config(crop_pct=1e-9), "crop_pct 1e-09 of"),
    "a file of its own": (
        with_config(model_args={"checkpoint_path": "x"}),
        "checkpoint_path is not an argument",
    ),
}


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of five, as ``pytorch_model.bin``."""
    folder = tmp_path_factory.mktemp("five")
    with torch.no_grad():
        save_for_hf(made("resnet10t", 5), folder)
    return folder


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_what_its_configuration_says(kind: str, five: Path, tmp_path: Path) -> None:
    change, words = REFUSED[kind]
    folder = Path(shutil.copytree(five, tmp_path / "folder"))
    change(folder)
    with pytest.raises(UsageError, match=words) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def deflated(weights: Path, mark: Path) -> None:
    with zipfile.ZipFile(weights) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data + bytes(2**20) if name.endswith("data.pkl") else data)


PICKLES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "code": (lambda weights, mark: torch.save({"a": Evil(mark)}, weights), "run code in it"),
    "a module": (lambda weights, mark: torch.save(torch.nn.Linear(1, 1), weights), "run code in it"),
    "a script": (
        lambda weights, mark: torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(weights)),
        "damaged, or not a file of torch.save|run code",
    ),
    "no names": (lambda weights, mark: torch.save([torch.zeros(1)], weights), "no tensors by name"),
    "numbers": (lambda weights, mark: torch.save({"a": 1}, weights), "no tensors by name"),
    "sparse": (
        lambda weights, mark: torch.save({"a": torch.zeros(2, 2).to_sparse()}, weights),
        "no tensors by name",
    ),
    "compressed": (deflated, "its records are compressed"),
    "no zip": (lambda weights, mark: weights.write_bytes(b"\x80\x02."), "not a zip file"),
    "cut": (lambda weights, mark: weights.write_bytes(weights.read_bytes()[:-1000]), "not a zip file"),
    "a folder": (lambda weights, mark: (weights.unlink(), weights.mkdir()), "is not a file"),
    "a pipe": (lambda weights, mark: (weights.unlink(), os.mkfifo(weights)), "is not a file"),
    "a device": (lambda weights, mark: (weights.unlink(), weights.symlink_to("/dev/zero")), "is not a file"),
    "nowhere": (lambda weights, mark: (weights.unlink(), weights.symlink_to("nowhere")), "is not a file"),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_weights_are_tensors_and_no_code(kind: str, five: Path, tmp_path: Path) -> None:
    change, words = PICKLES[kind]
    folder, mark = Path(shutil.copytree(five, tmp_path / "folder")), tmp_path / "ran"
    change(folder / "pytorch_model.bin", mark)
    with pytest.raises(UsageError, match=words) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["config.json", "card.json"])
def test_pipes_and_devices_are_not_opened(name: str, five: Path, tmp_path: Path) -> None:
    for number, put in enumerate((os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir)):
        folder = Path(shutil.copytree(five, tmp_path / str(number)))
        (folder / name).unlink(missing_ok=True)
        put(folder / name)
        with pytest.raises(UsageError, match="and was not opened"):
            load_encoder(folder)


def in_a_cache(folder: Path, to: Path) -> Path:
    """A snapshot as the Hub's client keeps it: every file a link to a blob."""
    snapshot, blobs = to / "snapshots" / "abc", to / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_the_links_of_a_hub_cache_are_followed(five: Path, tmp_path: Path) -> None:
    require_timms(in_a_cache(five, tmp_path / "five"))
    ours = save_encoder(build_encoder("resnet10_small", 16), tmp_path / "ours", {"method": "none"})
    assert load_encoder(in_a_cache(ours, tmp_path / "cache")).card["method"] == "none"


def test_a_card_is_not_read_from_elsewhere(tmp_path: Path) -> None:
    """What a card says is published with the encoder."""
    folder = save_encoder(build_encoder("resnet10_small", 16), tmp_path / "ours")
    (tmp_path / "secret.json").write_text('{"token": "1234"}')
    (folder / "card.json").unlink()
    (folder / "card.json").symlink_to("../secret.json")
    with pytest.raises(UsageError, match="is a link and was not opened"):
        load_encoder(folder)


ODD_STATES: dict[str, Callable[[Any], object]] = {
    "tied": lambda model: setattr(model.layer1[0].bn2, "weight", model.layer1[0].bn1.weight),
    "not contiguous": lambda model: model.to(memory_format=torch.channels_last),
    "slices of one": lambda model: setattr(
        model.layer1[0].bn1, "weight", torch.nn.Parameter(torch.ones(2, 32)[1])
    ),
    "half": lambda model: model.to(torch.bfloat16).float(),
}


@pytest.mark.parametrize("kind", ODD_STATES)
def test_tensors_are_saved_however_they_lie_in_memory(kind: str, tmp_path: Path) -> None:
    encoder = build_encoder("resnet10_small", 16, seed=0).eval()
    ODD_STATES[kind](encoder.model)
    check_saveable(encoder)
    save_encoder(encoder, tmp_path / "encoder")
    images, features = timms(tmp_path / "encoder")
    assert torch.equal(features, encoder(images))
    assert torch.equal(load_encoder(tmp_path / "encoder").eval()(images), features)
    size = sum(value.nbytes for value in encoder.model.state_dict().values())
    assert size <= (tmp_path / "encoder" / "model.safetensors").stat().st_size < size + 2**16


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    encoder = build_encoder("resnet10_small", 16)
    encoder.model.register_buffer("odd", torch.zeros(2, 2).to_sparse())
    for refuse in (check_saveable, lambda one: save_encoder(one, tmp_path / "encoder")):
        with pytest.raises(UsageError, match="'resnet10_small' cannot be saved: 'odd' is not a plain tensor"):
            refuse(encoder)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_encoder(build_encoder("resnet10_small", 16), tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "hf_hub:timm/resnet18.a1_in1k",
            "write timm:resnet18.a1_in1k if timm has that name, or hf-hub:OWNER/",
        ),
        ("timm/resnet18.a1_in1k", "write timm:resnet18.a1_in1k"),
        ("local-dir:runs/a/encoder", "name the folder alone: runs/a/encoder"),
        ("runs/none", "no such folder"),
    ],
)
def test_names_that_are_neither_folders_nor_timms(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_encoder(name)


def test_names_that_timm_gave_up_are_built_under_their_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder = build_encoder("ssl_resnet18", 32)
    assert encoder.recipe["name"] == "resnet18.fb_ssl_yfcc100m_ft_in1k"
    assert "'ssl_resnet18' is called 'resnet18.fb_ssl_yfcc100m_ft_in1k' now" in caplog.text
    assert load_encoder("timm:ssl_resnet18").recipe["name"] == "resnet18"  # random weights, as of bare names
