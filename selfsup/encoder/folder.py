"""The encoder's directory: written, read back, and refused if something in it is wrong."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor, nn

from selfsup.encoder.creation import named_now
from selfsup.encoder.described import describe
from selfsup.encoder.files import (
    CARD,
    CONFIG,
    HUB,
    downloaded,
    foreign_file,
    read_card,
    read_config,
    weights_file,
)
from selfsup.encoder.foreign import load_foreign, load_transformers
from selfsup.encoder.limits import Bounded
from selfsup.encoder.model import Encoder, build_encoder
from selfsup.encoder.resizing import OURS
from selfsup.encoder.state import plain_state
from selfsup.encoder.values import noted_range, range_notes
from selfsup.encoder.weights import fill, read_weights
from selfsup.errors import UsageError
from selfsup.files import part_of, sync_folder, write_text, written_whole
from selfsup.sides import compact, in_words

RANDOM_SEED = 2024  # of timm's random weights: the same at every load, and different from those of controls


def save_encoder(encoder: Encoder, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write the encoder's directory, whole or not at all; an existing one is never overwritten.

    Raises:
        UsageError: the folder exists and is not empty, or is a file, or the encoder cannot be saved
            (:func:`check_saveable`).
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"'{folder}' is taken; name another folder for the encoder")
    check_saveable(encoder)
    part = part_of(folder)
    part.mkdir(parents=True)
    try:
        with written_whole(part / "model.safetensors") as file:
            file.write(save(_state(encoder.model), metadata={"format": "pt"}))
        _write_json(part / CONFIG, _config(encoder))
        _write_json(part / CARD, {**(card or {}), **_about(encoder)})
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync_folder(folder.parent)
    return folder


def check_saveable(encoder: Encoder) -> None:
    """Raise a UsageError unless :func:`save_encoder` can write the encoder; called before a run's first
    step."""
    name = encoder.recipe["name"]
    for key, value in encoder.model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
            raise UsageError(
                f"'{name}' cannot be saved: '{key}' is not a plain tensor; take another backbone"
            )
    try:
        json.dumps(_config(encoder))
    except TypeError as error:
        raise UsageError(
            f"'{name}' cannot be saved: {error}; give backbone.model_args plain values"
        ) from error


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The weights by name, each with its own memory, as safetensors requires: layers may share some."""
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in plain_state(model).items():
        own = value.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        state[name] = own.clone() if place in seen else own
        seen.add(place)
    return state


def _config(encoder: Encoder) -> dict[str, Any]:
    recipe, model, size = encoder.recipe, encoder.model, compact(encoder.input_size)
    colours = encoder.channels == 3
    args = dict(recipe["model_args"])
    if timm.get_pretrained_cfg_value(recipe["name"], "fixed_input_size"):
        args.setdefault("img_size", size)
    return {
        "architecture": recipe["name"],
        "num_classes": 0,
        "num_features": encoder.dim,
        "model_args": args,
        "pretrained_cfg": {
            # With it, timm would fit the first layer a second time, unless there are three channels.
            "first_conv": (model.pretrained_cfg or {}).get("first_conv") if colours else None,
            "classifier": (model.pretrained_cfg or {}).get("classifier"),
            "input_size": [encoder.channels, *encoder.input_size],
            "fixed_input_size": False,
            **(OURS if encoder.resizing is None else encoder.resizing.record()),
            "mean": list(encoder.mean),
            "std": list(encoder.std),
            "num_classes": 0,
            **range_notes(encoder.range),
        },
    }


def _about(encoder: Encoder) -> dict[str, Any]:
    """The card's entries about the encoder itself."""
    own = {} if encoder.resizing is None else {"resizing": asdict(encoder.resizing)}
    return {
        "recipe": encoder.recipe,
        "range": encoder.range,
        **own,
        "fingerprint": encoder.fingerprint(),
        "features_of_fixed_input": encoder.probe(),
    }


def add_to_card(folder: str | Path, content: dict[str, Any]) -> None:
    """Write more into the ``card.json`` of an encoder's folder, such as its scores."""
    _write_json(Path(folder) / CARD, {**read_card(Path(folder)), **content})


def load_encoder(path: str | Path) -> Encoder:
    """An encoder from its directory, another framework's file, ``"timm:NAME"`` or ``"hf-hub:OWNER/NAME"``.

    A directory that timm wrote is read like one of ours: ``timm.models.save_for_hf``, with or without a
    classifier, which is left out, as safetensors or as ``pytorch_model.bin``. Its features are those of
    ``timm.create_model("local-dir:...", pretrained=True, num_classes=0)``, its preprocessing is what its
    configuration says (:attr:`Encoder.resizing`). Nothing in it is run; links are followed as far as
    :mod:`selfsup.encoder.files` says.

    A state dictionary or checkpoint of DINO, DINOv2, iBOT, MSN, MAE, I-JEPA, MoCo, SimSiam, Barlow Twins,
    VICReg, SwAV, SparK, lightly, lightly-train, solo-learn, stable-pretraining, torchvision, OpenCLIP or
    mmpretrain, as a file, and a folder of transformers' ViT, DINOv2 or ResNet, are read by
    :mod:`selfsup.encoder.layouts`: the shapes say which architecture it is, and what was assumed and left out
    is logged.

    A timm name with a tag (``timm:resnet18.a1_in1k``) brings its published weights; a bare one
    (``timm:resnet18``) has random weights. A repository of the Hugging Face Hub is downloaded into its cache
    and read as a directory.

    Args:
        path: of the directory or file. Of another framework's file that has several encoders, ``FILE#PREFIX``
            takes the one whose names begin so, such as ``"last.ckpt#student_backbone"``, and of one whose
            width does not say how many heads attention has, ``FILE#heads=12`` does; both are joined by a
            comma.

    Raises:
        UsageError: the folder or a file is missing, damaged, or belongs to another architecture.

    Example:
        >>> load_encoder("timm:resnet18").dim
        512
    """
    if str(path).startswith("timm:"):
        return _timm_encoder(str(path).removeprefix("timm:"))
    if str(path).startswith(HUB):
        return load_encoder(downloaded(str(path).removeprefix(HUB)))
    if found := foreign_file(path):
        return load_foreign(*found)
    folder = Path(path)
    config = read_config(folder)
    if "model_type" in config and "architecture" not in config:
        return load_transformers(folder, config)
    card, weights = read_card(folder), weights_file(folder)
    recipe = card.get("recipe")
    ours = isinstance(recipe, dict)
    if ours and "pretrained_cfg" not in config:
        raise UsageError(f"'{folder / CONFIG}' is not an encoder's configuration: it has no 'pretrained_cfg'")
    about = describe(config, f"'{folder / CONFIG}'")
    state = read_weights(weights)
    with Bounded(weights.stat().st_size, len(state)):
        positions = recipe.get("positions", "learned") if isinstance(recipe, dict) else "learned"
        encoder = build_encoder(
            about.name,
            about.size,
            about.args,
            positions,
            about.mean,
            about.std,
            range=noted_range(config, folder),
            channels=about.channels,
        )
    fill(encoder.model, state, about, weights)
    encoder.card = card
    if not ours or card.get("resizing") is not None or about.resizing.record() != OURS:
        encoder.resizing = about.resizing
        _require_pooled(encoder, str(folder))
    return encoder


@torch.inference_mode()
def _require_pooled(encoder: Encoder, name: str) -> None:
    """Raise a UsageError unless an image gives one vector of the encoder's width."""
    size, was_training = encoder.input_size, encoder.training
    try:
        shape = tuple(encoder.eval()(torch.zeros(1, encoder.channels, *size)).shape)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"'{name}' cannot take images of {in_words(size)}, as its configuration says: {reason}"
        ) from error
    finally:
        encoder.train(was_training)
    if shape != (1, encoder.dim):
        raise UsageError(
            f"'{name}' gives features of shape {shape[1:]}, not a vector of {encoder.dim}; "
            "set global_pool in its model_args"
        )


def _timm_encoder(asked: str) -> Encoder:
    name, tag = named_now(asked), asked.partition(".")[2]
    cfg = timm.get_pretrained_cfg(name)
    about = describe({**(cfg.to_dict() if cfg else {}), "architecture": name}, f"timm's '{name}'")
    base = name.partition(".")[0]
    of: dict[str, Any] = {"mean": about.mean, "std": about.std, "channels": about.channels}
    encoder = build_encoder(base, about.size, seed=RANDOM_SEED, **of)
    if tag:
        encoder.model = build_encoder(name, about.size, pretrained=True, **of).model
    encoder.resizing = about.resizing
    return encoder


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
