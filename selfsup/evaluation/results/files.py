"""Writing results, never over an existing file."""

import json
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.files import fitting, require_writable, write_text
from selfsup.text import as_text


def write_results(results: Mapping[str, Any], out: str | Path | None, encoder: str) -> Path:
    """Write results as JSON to a new file.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`.
        out: the file, or None for a default name (:func:`default_paths`).
        encoder: the judged encoder as given: its folder or ``timm:NAME``, or ``"comparison"``.

    Returns:
        The path written.

    Raises:
        UsageError: ``out`` exists.
    """
    text = json.dumps(_as_text(results), indent=2, allow_nan=False) + "\n"
    for path in [Path(out)] if out is not None else default_paths(encoder, str(results["data"])):
        try:
            write_text(path, text, overwrite=False, make_folders=True)
        except FileExistsError:
            continue
        return path
    raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")


def _as_text(value: Any) -> Any:
    """Plain JSON types whose names are valid text."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, Mapping):
        return {as_text(key): _as_text(inside) for key, inside in value.items()}
    return [_as_text(inside) for inside in value] if isinstance(value, list | tuple) else value


def require_place(out: str | Path | None, encoder: str, data: str) -> None:
    """Raise a UsageError if results could not be written, before there are any.

    Raises:
        UsageError: ``out`` exists, or neither it nor a file with a default name can be made.
    """
    if out is not None and os.path.lexists(out):
        raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")
    require_writable(Path(out) if out is not None else next(default_paths(encoder, data)))


def default_paths(encoder: str, data: str) -> Iterator[Path]:
    """Names to try in turn, without end.

    Beside an encoder of a run ``results.json``, then ``results-<data>-<n>.json``; for other encoders
    ``results-<name>.json``, then ``results-<name>-<n>.json``, in the working directory.
    """
    path, data = Path(encoder).resolve(), data.replace("/", "-")
    if not encoder.startswith("timm:") and path.name.startswith("encoder"):
        folder, stem = path.parent, fitting(f"results-{data}")
        yield folder / "results.json"
    else:
        name = encoder.removeprefix("timm:") if encoder.startswith("timm:") else path.name
        folder, stem = Path(), fitting(f"results-{name.replace('/', '-')}")
        yield folder / f"{stem}.json"
    for number in count(2):
        yield folder / f"{stem}-{number}.json"
