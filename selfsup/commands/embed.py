"""``selfsup embed encoder=PATH data=NAME``: features of all images, as a Parquet file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import find_encoder
from selfsup.data.settings import require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.files import require_writable
from selfsup.precision import require_precision
from selfsup.processes import launched
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Write the features of ``config["data"]`` to ``config["out"]``: a file, or a folder of parts.

    Started by ``torchrun`` or ``srun``, each process writes parts of its own.

    Args:
        config: of ``configs/embed.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    name, place = check(config), launched()
    out = Path(str(config["out"]))
    if out.suffix == ".parquet":
        if os.path.lexists(out):
            raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")
        if place.world > 1:
            raise UsageError(
                f"{place.world} processes cannot write the file '{out}'; name a folder, out={out.stem}"
            )
    elif os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"'{out}' is not a folder; name one with out=, or a file that ends in .parquet")
    require_writable(out)

    from selfsup.commands.images import opened, tell_skipped
    from selfsup.evaluation.features.embedding_parts import write_parts
    from selfsup.evaluation.features.embeddings import embed, write_embeddings

    encoder, train, test = opened(config, name, local_rank=place.local_rank)
    assert encoder is not None
    sources = {"train": train, "test": test}
    skipped: list[tuple[str, str]] = [pair for source in sources.values() for pair in source.skipped]
    settings: dict[str, Any] = {key: config[key] for key in ("batch_size", "precision")}
    settings |= {"workers": config["data"]["workers"], "skipped": skipped}
    range_ = train.range
    if out.suffix == ".parquet":
        count = write_embeddings(out, encoder, embed(encoder, sources, **settings), range_)
    else:
        count = write_parts(out, encoder, sources, range_, rank=place.rank, world=place.world, **settings)
    tell_skipped(skipped)
    print(f"{shown(out)}: {encoder.dim} features of {count} images")


def check(config: Mapping[str, Any]) -> str:
    """Refuse what is wrong without importing torch; returns the encoder's folder or name."""
    require_precision("precision", config["precision"])
    if config["data"]:
        require_reading(config["data"])
        require_paths(config["data"])
    return find_encoder(str(config["encoder"]))
