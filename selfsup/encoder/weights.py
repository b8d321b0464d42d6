"""An encoder's weights: read from the files that timm writes, without running code, and fitted strictly."""

import argparse
import logging
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from selfsup.encoder.creation import create
from selfsup.encoder.described import Described
from selfsup.encoder.inert import load_tensors
from selfsup.encoder.limits import Bounded
from selfsup.errors import UsageError
from selfsup.text import as_text

_logger = logging.getLogger(__name__)

# What checkpoints hold beside tensors: a command's arguments, and numpy's numbers by their old and new names.
_PLAIN: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
]

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where timm looks, in its order
# What data parallelism and compilation write into names, anywhere.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU; their memory is the file's until they are copied.

    Args:
        file: ``model.safetensors``, or ``pytorch_model.bin`` as :func:`torch.save` writes it.

    Raises:
        UsageError: it is damaged, or holds more than tensors and plain values.
    """
    state = read_content(file)
    if file.suffix != ".safetensors":
        state = unwrapped(state)
    if not state or not all(is_weight(name, value) for name, value in state.items()):
        raise UsageError(f"'{file}' holds no tensors by name; save the model's state_dict() alone")
    return state


def read_content(file: Path) -> Any:
    """What :func:`torch.save` or safetensors wrote: tensors by name, perhaps among other values.

    Raises:
        UsageError: the file is damaged, or holds more than tensors, plain values and a command's arguments.
    """
    if file.suffix == ".safetensors":
        try:
            # safetensors opens only paths that are UTF-8.
            return load_file(file) if as_text(file) == str(file) else load(file.read_bytes())
        except (SafetensorError, OSError) as error:
            raise UsageError(f"'{file}' is damaged ({error}); copy it again") from error
    return _unpickled(file)


def _unpickled(file: Path) -> Any:
    reason = _unlike_torch(file)
    try:
        if reason is None:
            return _loaded(file)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"'{file}' holds more than tensors: reading it would run code in it, so it was not "
            "loaded; save the model's state_dict() alone, best as model.safetensors"
        ) from error
    except (RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
    raise UsageError(f"'{file}' is damaged, or not a file of torch.save ({reason}); copy it again")


def _loaded(file: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_PLAIN):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        return load_tensors(file)


def _unlike_torch(file: Path) -> str | None:
    """The sign that the file is not torch's, which neither compresses nor overlaps records; nothing is
    unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return str(error)
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        return "its records are compressed"
    if sum(record.file_size for record in records) > file.stat().st_size:
        return "its records are larger than the file"
    return None


def unwrapped(content: Any, containers: Sequence[str] = CONTAINERS) -> dict[Any, Any]:
    """The state dictionary in a checkpoint, its names without wrappers.

    Args:
        content: of :func:`read_content`.
        containers: the checkpoint's keys under which it may be; the first that holds tensors is taken.
    """
    if not isinstance(content, Mapping):
        return {}
    inside = (content.get(name) for name in containers)
    found = next((each for each in inside if isinstance(each, Mapping) and _holds_tensors(each)), content)
    return {_bare(name) if isinstance(name, str) else name: value for name, value in found.items()}


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def is_weight(name: Any, value: Any) -> bool:
    """Whether an entry of a state dictionary is a plain tensor on the CPU under a name."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_complex()
        and value.device.type == "cpu"
    )


def fill(model: nn.Module, state: dict[str, Tensor], about: Described, file: Path) -> None:
    """Load weights into a network without a classifier, all of it and nothing else.

    The weights have to be those of the network that the configuration describes. A classifier is left out,
    and logged. timm itself converts the names of layers from older versions.

    Args:
        model: of :func:`~selfsup.encoder.model.build_encoder`.
        state: of :func:`read_weights`.
        about: the configuration.
        file: the weights' file.

    Raises:
        UsageError: the weights are another network's.
    """
    if _differing(model, state):
        whole = _whole(state, about, file)
        extra = sorted(whole.keys() - model.state_dict().keys())
        if extra:
            _logger.warning(
                "the classifier in '%s' (%d classes: %s) is left out: an encoder gives features",
                file,
                about.classes,
                ", ".join(extra),
            )
        state = {name: value for name, value in whole.items() if name not in extra}
        _require_none(_differing(model, state), file)
    model.load_state_dict(state)


def _whole(state: dict[str, Tensor], about: Described, file: Path) -> dict[str, Tensor]:
    """The state of the network as it was saved, under timm's current names."""
    recipe, size = (about.name, about.size, about.args), file.stat().st_size
    of: dict[str, Any] = {"classes": about.classes, "channels": about.channels}
    with Bounded(size, len(state)):
        model = create(*recipe, **of)
    wrong = _differing(model, state)
    if not wrong:
        return state
    cfg = {**about.cfg, "num_classes": about.classes, "state_dict": dict(state)}
    try:
        with Bounded(2 * size, len(state)):  # timm copies the state that it is given
            model = create(*recipe, pretrained=True, weights=cfg, **of)
    except UsageError:
        _require_none(wrong, file)
    return model.state_dict()


def _differing(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Names that only one of the two has, then those of other shapes."""
    expected = model.state_dict()
    return sorted(expected.keys() ^ state.keys()) + [
        key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape
    ]


def _require_none(wrong: list[str], file: Path) -> None:
    if wrong:
        raise UsageError(
            f"the weights in '{file.parent}' are of another architecture than its config.json: "
            f"{len(wrong)} tensors differ, '{wrong[0]}' among them"
        )
