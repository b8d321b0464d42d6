"""``selfsup report RUN [RUN ...]``: runs in one HTML file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Write the report of ``config["runs"]``.

    Args:
        config: of ``configs/report.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before torch is imported, if a run does not exist or the file does.
    """
    for folder in config["runs"]:
        if not Path(str(folder)).is_dir():
            raise UsageError(f"there is no run '{folder}'; a run leaves a folder in runs/")
    if config["out"] is not None and os.path.lexists(str(config["out"])):
        raise UsageError(f"'{config['out']}' exists and is not overwritten; name another file with out=")

    from selfsup.commands.devices import find_device
    from selfsup.report import write_report

    settings = {key: config[key] for key in ("out", "images", "gflops", "pictures")}
    path = write_report(config["runs"], **settings, device=find_device(config["device"]))
    print(f"Report: {shown(path)}")
