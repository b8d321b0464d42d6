"""Settings of data, checked before torch is imported: paths, splits, one among several sources."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfsup.config import load_config
from selfsup.data.readers.reading import reading_of
from selfsup.data.slices import looks_like_splits, parse_splits, path_and_slice
from selfsup.errors import UsageError

_LARGEST = sys.float_info.max  # end of a range
# Settings of data that may name files, and those that a mixture's sources have in common.
_PATHS = ("root", "train", "test", "files", "indices", "images", "labels_file", "classes", "pairs")
_OF_MIXTURES = (
    "image_size",
    "mean",
    "std",
    "workers",
    "max_unreadable",
    "in_memory",
    "mirror",
    "turns",
    "colour",
    "colours",
    "noise",
    "drop",
    "range",
    "channels",
    "bands",
    "pages",
    "decode",
    "pairs",
)
_OF_A_SOURCE = {"weight": "1", "epochs": "10"}  # what a source has among others, and an example


def require_paths(data: Mapping[str, Any]) -> None:
    """Raise a UsageError unless a data configuration names existing files and valid splits.

    A pattern (``train-*.parquet``) and the root of a data set to be downloaded need not exist.
    """
    for key in _PATHS:
        value = data.get(key)
        if value is None or (key == "root" and data.get("download")):
            continue
        path, end = path_and_slice(str(value))
        if key in ("train", "test") and looks_like_splits(path):
            parse_splits(path, f"data.{key}")
            continue  # if it is the name of a file after all, the source looks for it
        parse_splits(f"{key}{end}", f"data.{key}")
        if any(mark in path for mark in "*?[{"):
            continue
        if not Path(path).expanduser().exists():
            raise UsageError(f"data.{key}: there is no '{path}'{_sibling(Path(path).expanduser())}")
    labels = labels_file(data)
    if labels is not None and not Path(labels).expanduser().is_file():
        near = _sibling(Path(labels).expanduser())
        raise UsageError(
            f"data.labels is auto, true, false or a table of labels; there is no '{labels}'{near}"
        )
    for name, settings in (data.get("sources") or {}).items():
        require_paths(data_config(name, settings))


def labels_file(config: Mapping[str, Any]) -> str | None:
    """The file in ``data.labels``, None if that is auto, true or false.

    >>> labels_file({"labels": "labels.csv"}), labels_file({"labels": "auto"}), labels_file({})
    ('labels.csv', None, None)
    """
    setting = config.get("labels")
    return setting if isinstance(setting, str) and setting != "auto" else None


def data_config(name: str, settings: Any) -> dict[str, Any]:
    """The configuration of a mixture's source: that of ``data=NAME`` with other settings.

    Two sources of one kind have different names, and the kind in ``data``.

    Raises:
        UsageError: if there is no such data, or no such setting of a source.

    >>> data_config("digits", {"train": "train[:50%]", "weight": 2})["train"]
    'train[:50%]'
    """
    if not isinstance(settings, Mapping):
        raise UsageError(f"data.sources.{name} holds settings, such as weight=1, not '{settings}'")
    rest = {key: value for key, value in settings.items() if key not in _OF_A_SOURCE}
    if common := [key for key in rest if key in _OF_MIXTURES]:
        raise UsageError(
            f"data.sources.{name}.{common[0]} belongs to the whole mixture; set data.{common[0]}"
        )
    config = other_data(f"data.sources.{name}", rest, name)
    if config.get("balanced"):
        raise UsageError(f"data.sources.{name}.balanced: classes are balanced in data={name} alone")
    if labels_file(config) is not None:
        raise UsageError(f"data.sources.{name}.labels cannot be a table; label images of data={name} alone")
    return config


def source_configs(sources: Mapping[str, Any], of: str, needed: str) -> list[dict[str, Any]]:
    """The configurations of several sources in the order in which they are named (:func:`data_config`).

    Args:
        sources: settings by name.
        of: what they are the sources of, in words.
        needed: the one of ``weight`` and ``epochs`` that each must have; the other has no meaning here.

    Raises:
        UsageError: if there are fewer than two sources, or one does not fit.

    >>> sources = {"digits": {"epochs": 1}, "fractals": {"epochs": 2}}
    >>> [config["name"] for config in source_configs(sources, "stages", "epochs")]
    ['digits', 'fractals']
    """
    example = f"{needed}={_OF_A_SOURCE[needed]}"
    if len(sources) < 2:
        raise UsageError(
            f"{of} needs two sources or more; set data.sources.NAME.{example} for each of several"
        )
    configs = [data_config(name, settings) for name, settings in sources.items()]
    for name, settings in sources.items():
        if needed not in settings:
            raise UsageError(f"source '{name}' has no {needed}; set data.sources.{name}.{example}")
        for other in settings.keys() & (_OF_A_SOURCE.keys() - {needed}):
            raise UsageError(f"{of} takes {needed} of a source; leave out data.sources.{name}.{other}")
    return configs


def other_data(where: str, settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration that ``settings`` make of ``data=KIND``, or of the kind in their ``data``.

    Raises:
        UsageError: beginning with ``where``, if there is no such data, or no such setting of it.

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


def require_reading(data: Mapping[str, Any], typed: Iterable[str] = ()) -> None:
    """Raise a UsageError unless channels, bands, pages, range, mean and deviation are some, and fit together.

    Args:
        typed: the command's ``key=value``; only numbers typed there have to be one a channel, since those of
            a configuration are of colours, and measured for other channels.
    """
    channels = reading_of(data).channels
    range_of(data.get("range"), channels=channels)
    for key in {each.partition("=")[0] for each in typed} & {"data.mean", "data.std"}:
        given = data[key.removeprefix("data.")]
        if isinstance(given, list) and len(given) != channels:
            raise UsageError(
                f"{key} has {len(given)} numbers and data.channels is {channels}; give one a channel, or "
                "data.mean=auto, which measures them"
            )
    for key in ("mean", "std"):
        given = data.get(key)
        if isinstance(given, str) and given != "auto":
            raise UsageError(f"data.{key} is a list of numbers, one a channel, auto or null, not '{given}'")


def positives_of(config: Mapping[str, Any]) -> str:
    """Which relation of images a training configuration asks for; those of older runs ask for none.

    >>> positives_of({}), positives_of({"positives": {"name": "labels"}})
    ('none', 'labels')
    """
    return str((config.get("positives") or {}).get("name", "none"))


def repeat_of(config: Mapping[str, Any]) -> int:
    """How often each image comes in a batch of a training configuration; once in older runs.

    >>> repeat_of({"views": {"each": {"count": 2}}})
    1
    """
    return int(config["views"].get("repeat", 1))


def colours_of(data: Mapping[str, Any]) -> bool:
    """Whether the channels of a data configuration are red, green and blue.

    Raises:
        UsageError: ``data.colours`` is something else than auto, true or false, or true and there are not
            three channels.

    >>> colours_of({"channels": 3, "colours": "auto"}), colours_of({"channels": 4})
    (True, False)
    """
    setting, channels = data.get("colours", "auto"), data.get("channels", 3)
    if setting not in ("auto", True, False):
        raise UsageError(f"data.colours must be auto, true or false, not {setting}")
    if setting is True and channels != 3:
        raise UsageError(f"data.colours=true is for data.channels=3, and there are {channels}; leave it out")
    return channels == 3 and setting is not False


def range_of(setting: Any, where: str = "data.range", channels: int = 3) -> Any:
    """A range as a configuration gives it: two numbers, such a pair for each channel, "auto", or None.

    Only bands have pairs of their own; colours share one.

    Raises:
        UsageError: it is something else, or not from low to high.

    >>> range_of([0, 4095])
    (0, 4095)
    """
    if setting is None or setting == "auto":
        return setting
    pair = tuple(setting) if isinstance(setting, list | tuple) else ()
    if pair and all(isinstance(each, list | tuple) for each in pair):
        if channels == 3 or len(pair) != channels:
            one = "one pair for all colours" if channels == 3 else f"one pair, or {channels}"
            raise UsageError(f"{where} has {len(pair)} pairs and data.channels is {channels}; give {one}")
        pairs = tuple(range_of(each, where) for each in pair)
        return pairs[0] if channels == 1 else pairs
    numbers = [each for each in pair if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(pair) != 2 or len(numbers) != 2 or not all(-_LARGEST <= each <= _LARGEST for each in numbers):
        raise UsageError(f"{where} must be two numbers such as [0,4095], auto, or null, not {setting}")
    low, high = numbers
    if not low < high:
        raise UsageError(f"{where} must go from low to high, such as [0,4095], not from {low} to {high}")
    return low, high


def _sibling(path: Path) -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{path.parent / close[0]}'?" if close else ""
