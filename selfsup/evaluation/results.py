"""Where results are written: never over a file that is there."""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.files import write_text


def write_results(results: Mapping[str, Any], out: str | Path | None, encoder: str) -> Path:
    """Write results as JSON to a new file.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`.
        out: the file, or None for a default name (:func:`default_paths`).
        encoder: what was judged, as given: an encoder's folder or ``timm:NAME``, or ``"comparison"``.

    Returns:
        The path written.

    Raises:
        UsageError: ``out`` exists.
    """
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    for path in [Path(out)] if out is not None else default_paths(encoder, str(results["data"])):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_text(path, text, overwrite=False)
        except FileExistsError:
            continue
        return path
    raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")


def default_paths(encoder: str, data: str) -> Iterator[Path]:
    """Names to try in turn, without end.

    Beside an encoder of a run ``results.json``, then ``results-<data>-<n>.json``; for other encoders
    ``results-<name>.json``, then ``results-<name>-<n>.json``, in the working directory.
    """
    path = Path(encoder).resolve()
    if not encoder.startswith("timm:") and path.name.startswith("encoder"):
        folder, stem = path.parent, f"results-{data}"
        yield folder / "results.json"
    else:
        name = encoder.removeprefix("timm:") if encoder.startswith("timm:") else path.name
        folder, stem = Path(), f"results-{name.replace('/', '-')}"
        yield folder / f"{stem}.json"
    for number in count(2):
        yield folder / f"{stem}-{number}.json"
