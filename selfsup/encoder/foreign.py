"""Encoders from files of other frameworks: state dictionaries, checkpoints, and folders of transformers."""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from selfsup.encoder.files import LARGEST_JSON, WEIGHTS
from selfsup.encoder.layouts import Found, find
from selfsup.encoder.limits import Bounded
from selfsup.encoder.model import Encoder, build_encoder
from selfsup.encoder.resizing import Resizing
from selfsup.encoder.shapes import architecture
from selfsup.encoder.statistics import usual_statistics
from selfsup.encoder.weights import read_content
from selfsup.errors import UsageError
from selfsup.files import NotPlain, read_json
from selfsup.text import shown

_logger = logging.getLogger(__name__)
_ACTIVATIONS = ("gelu", "relu")  # of transformers' vision transformers and ResNets, as timm's are
_PREPROCESSING = "preprocessor_config.json"
_SOLO, _SOLO_HEAD = "backbone.", "classifier.weight"  # of solo-learn: the encoder, the classifier beside it


def load_foreign(file: Path, branch: str | None = None, heads: int | None = None) -> Encoder:
    """An encoder from another framework's file, with what was loaded, left out and assumed in its log.

    The file does not name an architecture, which is inferred from the shapes of its tensors. It does not say
    how images were prepared either: ImageNet's mean and standard deviation (their average, unless there are
    three channels) and a centre crop are assumed.

    Args:
        file: of :func:`torch.save`, or ``.safetensors``.
        branch: the prefix of the encoder's names, where the file has several encoders.
        heads: of attention, where the width does not say.

    Raises:
        UsageError: the file is damaged, would run code, or holds no encoder of a known layout.
    """
    return _built(file, branch, heads, {}, {})


def load_transformers(folder: Path, config: dict[str, Any]) -> Encoder:
    """An encoder from a folder of transformers, whose ``config.json`` names heads and norms.

    Raises:
        UsageError: a file in it is missing or damaged, or timm has no such model.
    """
    act = str(config.get("hidden_act", "gelu"))
    if act not in _ACTIVATIONS:
        raise UsageError(
            f"'{folder}' has the activation '{act}', and only {', '.join(_ACTIVATIONS)} are read"
        )
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise UsageError(f"'{folder}' has no {' or '.join(WEIGHTS)}; copy the whole folder")
    prepared: dict[str, Any] = {}
    if (folder / _PREPROCESSING).is_file():
        try:
            prepared = read_json(folder / _PREPROCESSING, LARGEST_JSON)
        except (NotPlain, ValueError, OSError) as error:
            raise UsageError(f"'{folder / _PREPROCESSING}' is damaged ({error}); copy it again") from error
    return _built(file, None, None, config, prepared)


def _built(
    file: Path, branch: str | None, heads: int | None, config: dict[str, Any], prepared: dict[str, Any]
) -> Encoder:
    try:
        return _read(file, branch, heads, config, prepared)
    except UsageError:  # a ValueError too, and a sentence already
        raise
    except KeyError as error:
        raise UsageError(f"the weights in '{file}' are not whole: they have no {error}") from error
    except (IndexError, ArithmeticError, RuntimeError, ValueError) as error:  # of shapes that do not fit
        reason = " ".join(str(error).split())
        raise UsageError(f"the weights in '{file}' do not fit together ({reason}); copy it again") from error


def _read(
    file: Path, branch: str | None, heads: int | None, config: dict[str, Any], prepared: dict[str, Any]
) -> Encoder:
    found = find(read_content(file), str(file), branch)
    eps = 1e-5 if found.layout.framework == "OpenCLIP" else config.get("layer_norm_eps", 1e-6)
    try:
        heads = heads or config.get("num_attention_heads") or _usual_heads(found)
        name, size, args, channels = architecture(found.layout.family, found.state, heads, eps)
        mean, std = _statistics(prepared, channels)
        if found.prefix == _SOLO and name.endswith("_small") and _SOLO_HEAD in found.left_out:
            args["stem_padding"] = 2
        with Bounded(file.stat().st_size, len(found.state)):
            encoder = build_encoder(name, size, args, mean=mean, std=std, channels=channels)
    except UsageError as error:
        raise UsageError(f"'{file}' cannot be read: {error}") from error
    _fill(encoder, found.state, file)
    encoder.resizing = Resizing(size)
    kinds = Counter(each.removeprefix(found.prefix).partition(".")[0] for each in found.left_out)
    _logger.warning(
        "'%s' has the names of %s%s: read as timm's %s of %d px%s with %s, %s and mean %s, std %s; "
        "%d tensors loaded, left out: %s",
        file,
        found.layout.framework,
        f" under '{found.prefix}'" if found.prefix else "",
        name,
        size,
        "" if channels == 3 else f" and {channels} channels",
        f"{args['num_heads']} heads" if "num_heads" in args else "its usual strides",
        "the class token" if args.get("global_pool") == "token" else "averaged pooling",
        *(" ".join(f"{value:.3g}" for value in values) for values in (encoder.mean, encoder.std)),
        len(found.state),
        ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items())) or "none",
    )
    return encoder


def _statistics(prepared: dict[str, Any], channels: int) -> Iterator[tuple[float, ...]]:
    """Mean and standard deviation of each channel, as far as a folder says."""
    for key, usual in zip(("image_mean", "image_std"), usual_statistics(channels), strict=True):
        values = prepared.get(key, usual)
        numbers = isinstance(values, list | tuple) and len(values) == channels
        numbers = numbers and all(type(v) in (int, float) for v in values)
        if not numbers or not all(map(math.isfinite, values)) or (key == "image_std" and min(values) <= 0):
            of = "three colours" if channels == 3 else f"{channels} channels"
            raise UsageError(f"{_PREPROCESSING} has the {key} {shown(str(values), 60)}, not that of {of}")
        yield tuple(float(value) for value in values)


def _usual_heads(found: Found) -> int | None:
    """Heads of attention where a framework's differ from those that a width usually has.

    Raises:
        UsageError: two methods of the framework differ, and the names are the same.
    """
    width = found.state["patch_embed.proj.weight"].shape[0] if found.layout.family == "vit" else 0
    if width == 384 and "base_encoder" in found.prefix:  # MoCo v3's ViT-Small
        return 12
    if width not in (192, 384) or found.prefix != _SOLO or _SOLO_HEAD not in found.left_out:
        return None
    others = {name.partition(".")[0] for name in found.left_out}
    if "decoder" in others:
        return 12
    if {"momentum_backbone", "predictor"} <= others:
        raise UsageError(
            f"solo-learn's MoCo v3 has 12 heads at width {width}, its BYOL {width // 64}, and both have the "
            "same names; write the number behind the file's name, such as FILE#heads=12"
        )
    return None


def _fill(encoder: Encoder, state: dict[str, torch.Tensor], file: Path) -> None:
    """Load all of the weights and nothing else; counts of batches, which old files lack, begin at 0."""
    expected = encoder.model.state_dict()
    lacking = {name for name in expected.keys() - state.keys() if not name.endswith("num_batches_tracked")}
    wrong = sorted(lacking | (state.keys() - expected.keys())) or sorted(
        name for name, value in state.items() if expected[name].shape != value.shape
    )
    if wrong:
        raise UsageError(
            f"'{file}' does not fit timm's {encoder.recipe['name']}: {len(wrong)} tensors differ, "
            f"'{wrong[0]}' among them"
        )
    encoder.model.load_state_dict({**expected, **state})
