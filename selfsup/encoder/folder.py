"""The encoder's directory: written, read back, and refused where something in it is wrong."""

import json
import math
import os
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from selfsup.backbones.names import require_timm_name
from selfsup.encoder.limits import Bounded
from selfsup.encoder.model import IMAGENET_MEAN, IMAGENET_STD, Encoder, build_encoder, require_tag
from selfsup.encoder.values import noted_range, range_notes
from selfsup.errors import UsageError
from selfsup.files import part_of, sync_folder, write_text, written_whole

RANDOM_SEED = 2024  # of timm's random weights: the same at every load, and other than those of controls
LARGEST_JSON = 16 * 2**20  # bytes
LARGEST_SIDE = 4096  # pixels


def save_encoder(encoder: Encoder, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write the encoder's directory, whole or not at all; an existing one is never overwritten.

    Raises:
        UsageError: the folder exists and is not empty, or is a file.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"'{folder}' is taken; name another folder for the encoder")
    part = part_of(folder)
    part.mkdir(parents=True)
    recipe, model = encoder.recipe, encoder.model
    args = dict(recipe["model_args"])
    if timm.get_pretrained_cfg_value(recipe["name"], "fixed_input_size"):
        args["img_size"] = recipe["image_size"]
    size = [3, recipe["image_size"], recipe["image_size"]]
    pretrained_cfg = {
        **{key: (model.pretrained_cfg or {}).get(key) for key in ("first_conv", "classifier")},
        "input_size": size,
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "num_classes": 0,
        **range_notes(encoder.range),
    }
    config = {
        "architecture": recipe["name"],
        "num_classes": 0,
        "num_features": encoder.dim,
        "model_args": args,
        "pretrained_cfg": pretrained_cfg,
    }
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with written_whole(part / "model.safetensors") as file:
        file.write(save(state, metadata={"format": "pt"}))
    _write_json(part / "config.json", config)
    _write_json(
        part / "card.json",
        {
            **(card or {}),
            "recipe": recipe,
            "range": encoder.range,
            "fingerprint": encoder.fingerprint(),
            "features_of_fixed_input": encoder.probe(),
        },
    )
    os.rename(part, folder)
    sync_folder(folder.parent)
    return folder


def add_to_card(folder: str | Path, content: dict[str, Any]) -> None:
    """Write more into the ``card.json`` of an encoder's folder, such as its scores."""
    path = Path(folder) / "card.json"
    _write_json(path, {**_read_json(path), **content})


def load_encoder(path: str | Path) -> Encoder:
    """An encoder from its directory, or ``"timm:NAME"`` for a timm model.

    A timm name with a tag (``timm:resnet18.a1_in1k``) brings its published weights; a bare one
    (``timm:resnet18``) has random weights.

    Raises:
        UsageError: the folder or a file is missing, damaged, or belongs to another architecture.

    Example:
        >>> load_encoder("timm:resnet18").dim
        512
    """
    if str(path).startswith("timm:"):
        return _timm_encoder(str(path).removeprefix("timm:"))
    folder = Path(path)
    config, card = _read_json(folder / "config.json"), _read_json(folder / "card.json", required=False)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UsageError(f"'{folder}' holds no model.safetensors; copy the encoder's whole folder")
    name, size, args, mean, std = _described(config, folder / "config.json")
    recipe = card.get("recipe")
    positions = recipe.get("positions", "learned") if isinstance(recipe, dict) else "learned"
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"'{weights}' is damaged ({error}); copy it again") from error
    with Bounded(weights.stat().st_size, len(state)):
        encoder = build_encoder(name, size, args, positions, mean, std, range=noted_range(config, folder))
    _load_strictly(encoder.model, state, folder)
    encoder.card = card
    return encoder


def _described(
    config: dict[str, Any], path: Path
) -> tuple[str, int, dict[str, Any], tuple[float, ...], tuple[float, ...]]:
    """Architecture, image size, arguments, mean and standard deviation, each of the type it has to be."""
    try:
        name, pretrained_cfg = str(config["architecture"]), config["pretrained_cfg"]
        size = int(pretrained_cfg["input_size"][-1])
        args = {key: value for key, value in config.get("model_args", {}).items() if key != "img_size"}
        mean, std = (tuple(float(value) for value in pretrained_cfg[key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise UsageError(f"'{path}' is no encoder's configuration: no {error}") from error
    if not 0 < size <= LARGEST_SIDE:
        raise UsageError(f"'{path}' is no encoder's configuration: images of {size} px")
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean)) or not min(std) > 0:
        raise UsageError(
            f"'{path}' is no encoder's configuration: mean {mean} and std {std} of three colours"
        )
    return name, size, args, mean, std


def _load_strictly(model: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys()) + [
        key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape
    ]
    if wrong:
        raise UsageError(
            f"the weights in '{folder}' are of another architecture than its config.json: "
            f"{len(wrong)} tensors differ, '{wrong[0]}' among them"
        )
    model.load_state_dict(state)


def _timm_encoder(name: str) -> Encoder:
    base, _, tag = name.partition(".")
    require_timm_name(base)
    require_tag(name)
    published = timm.get_pretrained_cfg(name, allow_unregistered=True) if tag else None
    cfg = published or timm.get_pretrained_cfg(base)
    size = cfg.input_size[-1] if cfg else 224
    mean, std = (cfg.mean, cfg.std) if cfg else (IMAGENET_MEAN, IMAGENET_STD)
    encoder = build_encoder(base, size, mean=mean, std=std, seed=RANDOM_SEED)
    if tag:
        encoder.model = build_encoder(name, size, pretrained=True).model
    return encoder


def _read_json(path: Path, required: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if required:
            where = "no such folder" if not path.parent.is_dir() else f"no {path.name} in it"
            raise UsageError(
                f"'{path.parent}' is no encoder: {where}; a run leaves one in runs/<name>/encoder"
            )
        return {}
    if path.stat().st_size > LARGEST_JSON:
        raise UsageError(f"'{path}' is larger than any encoder's; copy it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"'{path}' is damaged ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is damaged (no JSON object); copy it again")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
