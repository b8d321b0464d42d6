"""``selfsup inspect data=NAME``: what is in a data set, and what to do about it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import find_encoder
from selfsup.data.settings import require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.files import require_writable
from selfsup.precision import require_precision
from selfsup.terminal import typed
from selfsup.text import shown

_CHOICES = ("indices", "per_class", "imbalance")


def run(config: Mapping[str, Any]) -> None:
    """Write ``config["out"]`` with the endings .html and .parquet.

    Args:
        config: of ``configs/inspect.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is read, if the configuration is wrong.
    """
    name = check(config)
    page, table = (Path(f"{config['out']}{ending}") for ending in (".html", ".parquet"))
    for path in (page, table):
        if os.path.lexists(path):
            raise UsageError(f"'{path}' exists and is not overwritten; name other files with out=")
        require_writable(path)

    from selfsup.commands.images import opened
    from selfsup.curation.copies import THRESHOLD
    from selfsup.curation.inspection import inspect_data
    from selfsup.curation.table import write_table
    from selfsup.evaluation.results.verdict import sign
    from selfsup.files import write_text
    from selfsup.report.findings import findings
    from selfsup.report.inspection import render

    encoder, train, test = opened(config, name)
    sources = {"train": train} | ({"test": test} if len(test) else {})
    settings = {key: config[key] for key in ("clusters", "batch_size", "precision")}
    found = inspect_data(
        sources,
        encoder,
        threshold=config["threshold"] or THRESHOLD,
        workers=config["data"]["workers"],
        **settings,
        progress=lambda step: print(f"{step} …"),
    )
    told = findings(found, commands(config, table))
    write_table(table, found)
    write_text(page, render(found, told, sources, str(config["data"]["name"])), overwrite=False)
    print()
    for each in told:
        print(f"{sign(each.tone, sys.stdout.encoding)} {each.title}")
    print(f"Page: {shown(page)}\nTable: {shown(table)}")


def check(config: Mapping[str, Any]) -> str | None:
    """Refuse what is wrong without importing torch; returns the encoder's folder or name, if there is one."""
    require_precision("precision", config["precision"])
    data = config["data"]
    for key in _CHOICES:
        if data.get(key) is not None:
            raise UsageError(f"inspect looks at all images to choose from; leave out data.{key}=")
    require_reading(data)
    require_paths(data)
    return None if config["encoder"] is None else find_encoder(str(config["encoder"]))


def commands(config: Mapping[str, Any], table: Path) -> dict[str, str]:
    """The commands that mend what may be found, with the data and the encoder of this one."""
    data = [each for each in config["overrides"] if each.startswith(("data=", "data."))]
    encoder = [] if config["encoder"] is None else [f"encoder={config['encoder']}"]
    scores = ["mode=scores", f"scores={table}"]
    return {
        "kept": typed("curate", *data, *scores, "column=kept", "above=0.5", "out=kept.npy"),
        "train": typed("train", *data, "data.indices=kept.npy"),
        "labels": typed("curate", *data, *scores, "column=label_quality", "above=0.5", "out=agreed.npy"),
        "outliers": typed("curate", *data, *scores, "column=outlier", "below={limit}", "out=usual.npy"),
        "balanced": typed("curate", *data, *encoder, "mode=balanced", "share=0.5", "out=balanced.npy"),
        "evaluate": typed("evaluate", *data, "encoder=runs/latest/encoder", "protocols=knn"),
    }
