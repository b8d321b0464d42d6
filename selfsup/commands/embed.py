"""``selfsup embed encoder=PATH data=NAME``: features of all images, as a Parquet file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.evaluate import require_encoder
from selfsup.config import require_positive
from selfsup.data_config import require_paths, require_workers
from selfsup.errors import UsageError
from selfsup.files import require_writable
from selfsup.precision import require_precision
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Write the features of ``config["data"]`` to ``config["out"]``.

    Args:
        config: of ``configs/embed.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if something in the configuration cannot be.
    """
    check(config)
    out = Path(str(config["out"]))
    if os.path.lexists(out):
        raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")
    require_writable(out)

    from selfsup.commands.devices import find_device
    from selfsup.data.load import chosen
    from selfsup.encoder import load_encoder
    from selfsup.evaluation.embeddings import embed, write_embeddings

    encoder = load_encoder(str(config["encoder"])).to(find_device(config["device"]))
    sources = dict(zip(("train", "test"), chosen(config["data"]), strict=True))
    skipped: list[tuple[str, str]] = [pair for source in sources.values() for pair in source.skipped]
    settings = (config["batch_size"], config["data"]["workers"], config["precision"])
    count = write_embeddings(out, encoder, embed(encoder, sources, *settings, skipped))
    tell_skipped(skipped)
    print(f"{shown(out)}: {encoder.dim} features of {count} images")


def check(config: Mapping[str, Any]) -> None:
    """Refuse what can be seen to be wrong without importing torch."""
    require_encoder(str(config["encoder"]))
    require_positive(config, "batch_size")
    require_precision("precision", config["precision"])
    if config["data"]:
        require_workers(config["data"])
        require_paths(config["data"])


def tell_skipped(skipped: list[tuple[str, str]]) -> None:
    """Name the first images that could not be read, and count the others."""
    for name, reason in skipped[:10]:
        print(f"skipped '{shown(name)}': {shown(reason)}")
    if len(skipped) > 10:
        print(f"and {len(skipped) - 10} more images skipped")
