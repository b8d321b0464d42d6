"""Settings of data, checked before torch is imported: paths, splits, one among several sources."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.slices import looks_like_splits, parse_splits, path_and_slice

# Settings of data that may name files, and those that a mixture's sources have in common.
_PATHS = ("root", "train", "test", "files", "indices", "images", "labels_file", "classes")
_OF_MIXTURES = ("image_size", "mean", "std", "workers", "max_unreadable", "in_memory", "mirror", "colour")


def require_paths(data: Mapping[str, Any]) -> None:
    """Raise a UsageError unless a data configuration names files that are there, and splits that can be read.

    A pattern (``train-*.parquet``) and the root of a data set that is to be downloaded need not be there.
    """
    for key in _PATHS:
        value = data.get(key)
        if value is None or (key == "root" and data.get("download")):
            continue
        path, end = path_and_slice(str(value))
        if key in ("train", "test") and looks_like_splits(path):
            parse_splits(path, f"data.{key}")
            continue  # should it be the name of a file after all, the source looks for it
        parse_splits(f"{key}{end}", f"data.{key}")
        if any(mark in path for mark in "*?[{"):
            continue
        if not Path(path).expanduser().exists():
            raise UsageError(f"data.{key}: there is no '{path}'{_sibling(Path(path).expanduser())}")
    for name, settings in (data.get("sources") or {}).items():
        require_paths(data_config(name, settings))


def data_config(name: str, settings: Any) -> dict[str, Any]:
    """The configuration of a mixture's source: that of ``data=NAME`` with other settings.

    Two sources of one kind have names of their own, and the kind in ``data``.

    Raises:
        UsageError: if there is no such data, or no such setting of a source.

    >>> data_config("digits", {"train": "train[:50%]", "weight": 2})["train"]
    'train[:50%]'
    """
    if not isinstance(settings, Mapping):
        raise UsageError(f"data.sources.{name} holds settings, such as weight=1, not '{settings}'")
    rest = {key: value for key, value in settings.items() if key != "weight"}
    if common := [key for key in rest if key in _OF_MIXTURES]:
        raise UsageError(
            f"data.sources.{name}.{common[0]} belongs to the whole mixture; set data.{common[0]}"
        )
    return other_data(f"data.sources.{name}", rest, name)


def other_data(where: str, settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration that ``settings`` make of ``data=KIND``, or of the kind in their ``data``.

    Raises:
        UsageError: which begins with ``where``, if there is no such data, or no such setting of it.

    >>> other_data("bank", {"data": "digits", "train": "train[:50%]"}, "folder")["name"]
    'digits'
    """
    values = {f"data.{key}": value for key, value in _flat(settings) if key != "data"}
    try:
        chosen = f"data={settings.get('data', kind)}"
        return dict(load_config("evaluate", ["encoder=none", chosen], values=values)["data"])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def require_workers(data: Mapping[str, Any]) -> None:
    """Raise a UsageError unless ``data.workers`` is "auto" or a number of processes."""
    workers = data["workers"]
    if workers != "auto" and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise UsageError(f"data.workers is auto or a whole number from 0 on, not '{workers}'")


def _sibling(path: Path) -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{path.parent / close[0]}'?" if close else ""
