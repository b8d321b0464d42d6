"""The setting ``encoder`` of the commands that take one."""

from pathlib import Path
from typing import Any

from selfsup.backbone_names import require_timm_name, timm_names, without_prefix
from selfsup.encoder.files import CONFIG, HUB, WEIGHTS, foreign_file, require_files
from selfsup.errors import UsageError
from selfsup.processes import launched
from selfsup.runs import START, named_encoders


def find_encoder(name: str) -> str:
    """The encoder's folder or file, ``timm:NAME`` or ``hf-hub:OWNER/NAME``; of a run the encoder in it.

    Raises:
        UsageError: there is no such encoder; the sentence suggests one.
    """
    if name.startswith("timm:"):
        require_timm_name(name.removeprefix("timm:"))
        return name
    if name.startswith(HUB):
        return name
    folder = Path(name).expanduser()
    if _is_encoder(folder):
        return str(folder)
    if _is_encoder(folder / "encoder"):
        if launched().rank == 0:
            print(f"'{name}' is a run; taking the encoder it left in {folder / 'encoder'}")
        return str(folder / "encoder")
    if foreign_file(folder):
        return str(folder)
    if meant := _meant(name, folder):
        raise UsageError(meant)
    require_files(folder)
    return str(folder)


def short_name(name: str) -> str:
    """The run's name of ``runs/NAME/encoder``, else the last part."""
    if name.startswith(("timm:", HUB)):
        return without_prefix(name)
    path = Path(name)
    return path.parent.name if path.name == "encoder" and path.parent.name else path.name


def start_of(name: str) -> str | None:
    """The folder of what an encoder's training began with, of a run that began from weights."""
    start = Path(name).parent / START
    return str(start) if Path(name).name == "encoder" and _is_encoder(start) else None


def with_encoders(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a new run, with the encoders found that they name: weights to begin from, teachers.

    Raises:
        UsageError: there is no such encoder, or the command asks for what the weights bring.
    """
    config = _begun(config)
    for _, group, name in named_encoders(config):
        group[name] = find_encoder(str(group[name]))
    return config


def _begun(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run whose backbone is that of ``backbone.weights``, if any are given.

    Of ``backbone.model_args`` only those that the command sets are left: the weights bring the others.
    """
    backbone = config["backbone"]
    if backbone["weights"] is None:
        return config
    keys = [override.partition("=")[0] for override in config["overrides"]]
    for key in keys:
        known = tuple(
            f"backbone.{each}" for each in ("weights", "frozen", "lora", "checkpointing", "model_args.")
        )
        if key == "backbone" or (key.startswith("backbone.") and not key.startswith(known)):
            raise UsageError(f"backbone.weights brings its own architecture; leave out {key}=")
        if key in ("data.mean", "data.std"):
            raise UsageError(f"backbone.weights brings its own mean and deviation; leave out {key}=")
    called = short_name(str(backbone["weights"]))
    given = {
        key: value for key, value in backbone["model_args"].items() if f"backbone.model_args.{key}" in keys
    }
    # Whether it has tokens is known when it is read.
    fresh = {"called": called, "name": called, "small": None, "tokens": True}
    return {**config, "backbone": {**backbone, **fresh, "model_args": given}}


def _is_encoder(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in WEIGHTS)


def _meant(name: str, folder: Path) -> str | None:
    """A suggestion, if it neither is an encoder nor looks like a damaged one."""
    if not folder.is_dir():
        if name.partition(".")[0] in timm_names():
            return f"there is no folder '{name}'; timm's model of that name is encoder=timm:{name}"
        return None
    if (folder / "config.yaml").is_file():
        best = folder / "encoder-best"
        instead = f"take encoder={best}" if _is_encoder(best) else f"finish it with train resume={name}"
        return f"'{name}' is a run that has left no encoder yet; {instead}"
    runs = sorted(each for each in folder.iterdir() if _is_encoder(each / "encoder"))
    if runs:
        return f"'{name}' holds runs; name one of them, such as encoder={runs[-1] / 'encoder'}"
    return None
