"""``selfsup export encoder=PATH format=NAME``: an encoder for other programs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import find_encoder
from selfsup.errors import UsageError
from selfsup.hints import near

ENDINGS = {"timm": "-timm", "onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}


def run(config: Mapping[str, Any]) -> None:
    """Write ``config["encoder"]`` in ``config["format"]``, and print the largest difference of its features.

    Args:
        config: of ``configs/export.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before torch is imported, if there is no such encoder or format, or the file is taken.
    """
    format = str(config["format"])
    if format not in ENDINGS:
        raise UsageError(f"no format '{format}'{near(format, ENDINGS)}")
    name = find_encoder(str(config["encoder"]))
    out = Path(str(config["out"])) if config["out"] is not None else default_path(name, format)
    if os.path.lexists(out):
        raise UsageError(f"'{out}' exists and is not overwritten; name another with out=")

    from selfsup.encoder import load_encoder
    from selfsup.export import export

    found = export(load_encoder(name), format, out)
    print(f"{out}: features of two photographs differ from the encoder's by {found:.2g} at most")
    if format == "timm":
        print(f"Publish it with: hf upload USER/NAME {out}")


def default_path(encoder: str, format: str) -> Path:
    """Beside an encoder's folder, under its name; of a timm model in the working directory."""
    if encoder.startswith("timm:"):
        return Path(encoder.removeprefix("timm:").replace("/", "-") + ENDINGS[format])
    folder = Path(encoder)
    return folder.with_name(folder.resolve().name + ENDINGS[format])
