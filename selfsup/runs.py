"""Reading a run's folder, which may be untrusted: it is read as data, and refused unless a run's."""

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from selfsup.config import defaults, options, require_types
from selfsup.errors import UsageError
from selfsup.files import read_text
from selfsup.plain import parse
from selfsup.targets import may_call
from selfsup.text import shown

GROUPS = ("method", "backbone", "data", "views", "trainer")  # settings that decide what is learned, and how
_ALSO = ("batch_size", "seed")
START = "start"
# Settings that name an encoder, and the folder in which a run keeps it: the name may mean another one later,
# and a stranger's run must not say which file is opened, or what is fetched.
KEPT = {
    "backbone.weights": START,
    "method.teacher": "teacher",
    "auxiliary.distill.teacher": "teacher-distill",
}
UNTRAINED = "untrained"  # in place of a teacher's name
_MOST_FILES = 100_000
# Settings that every run has and older ones do not name, by their group.
_SINCE = {
    "backbone": ("weights", "frozen", "lora", "checkpointing"),
    "trainer": ("stop", "stop_patience"),
    "data": ("channels", "colours", "bands", "pages", "decode", "turns", "noise", "drop", "pairs"),
}
_SINCE_OF_VIEWS = {"noise": 0.0, "drop": 0.0, "turn": "none", "of": "self"}
_BACKBONE = ("name", "small", "tokens", "positions", "pretrained", "model_args")
_FETCHES = "download"  # a setting by which a data set is fetched into a folder
_OF_LOGGERS = "wandb"  # a folder with links of its own program, which selfsup does not follow
_TABLES = (".csv", ".json", ".yaml", ".html")


def read_config(folder: Path, word: str) -> dict[str, Any]:
    """The settings in a run's folder, which may be untrusted: only selfsup's own targets are imported.

    They do not decide where files are fetched or written.

    Args:
        folder: of the run.
        word: ``resume``, ``from`` or ``report``, which begins the sentence. A report also shows settings of
            another version.

    Raises:
        UsageError: it is not a run's folder, a link leads out of it, or its ``config.yaml`` is damaged or
            incomplete, or names code of another package.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{word}: '{folder}' is not a run's folder (it has no config.yaml)")
    require_own(folder)
    try:
        config = parse(read_text(path))
    except (OSError, ValueError) as error:
        said = f"cannot be read ({error})" if isinstance(error, OSError | UnicodeError) else error
        raise UsageError(f"{word}: '{path}' {said}") from error
    for key, value in leaves(config).items():
        first = key.partition(".")[0]
        group = first if first in ("method", "auxiliary") else "data"
        named = key.rpartition(".")[2] == "_target_" or (key == "data.decode" and value and word != "report")
        if named and not may_call(value, group):
            raise UsageError(
                f"{word}: '{path}' would call {value} ({key}), which no configuration of selfsup does; "
                "if you trust it, give its settings by hand in a new run"
            )
    known = defaults("train", [])
    try:
        require_types("train", config)
        require_groups(config)
        for group, keys in _SINCE.items():
            config[group] = {key: known[group][key] for key in keys} | config[group]
        for kind, view in config["views"].items():
            if isinstance(view, dict):
                config["views"][kind] = _SINCE_OF_VIEWS | view
        if word != "report":
            require_complete(config)
    except (UsageError, OmegaConfBaseException) as error:
        raise UsageError(f"{word}: '{path}' is not a configuration of a run: {error}") from error
    overrides = config.get("overrides")
    config["overrides"] = [str(each) for each in overrides] if isinstance(overrides, list) else []
    for key, settings, name in named_encoders(config):
        if not (folder / KEPT[key]).is_dir():
            raise UsageError(f"{word}: '{folder}' has no {KEPT[key]}/, the encoder that {key} names")
        settings[name] = str(folder / KEPT[key])
    if (folder / START).is_dir():  # also of published weights, which need not be fetched again
        config["backbone"]["weights"] = str(folder / START)
    return {**config, "data": without_fetching(config["data"])}


def named_encoders(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The settings of :data:`KEPT` that name an encoder: key, the settings it is in, and its last part.

    Example:
        >>> config = {"backbone": {"weights": "runs/a"}, "method": {"teacher": None}}
        >>> [key for key, _, _ in named_encoders(config)]
        ['backbone.weights']
    """
    for key in KEPT:
        *groups, name = key.split(".")
        inside: Any = config
        for group in groups:
            inside = inside.get(group) if isinstance(inside, Mapping) else None
        if isinstance(inside, dict) and inside.get(name) not in (None, UNTRAINED):
            yield key, inside, name


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values by dotted key.

    Example:
        >>> leaves({"a": {"b": 1}, "c": [2]})
        {'a.b': 1, 'c': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        inside = isinstance(value, Mapping)
        found |= leaves(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return found


def require_own(folder: Path) -> None:
    """Raise a UsageError unless all files that are opened in a run's folder are inside it.

    A link leads out of it, or would be written through; reading a pipe or a device may wait for ever.
    ``folder`` itself may be a link: the user named it.
    """
    home, waiting, left = folder.resolve(), deque([folder]), _MOST_FILES
    while waiting:
        here = waiting.popleft()
        for entry in os.scandir(here):
            left -= 1
            if left < 0:
                raise UsageError(f"'{folder}' holds more files than any run; name the run's own folder")
            mode, path = entry.stat(follow_symlinks=False).st_mode, here / entry.name
            if stat.S_ISLNK(mode):
                inside = path.resolve().is_relative_to(home) and path.is_dir()
                kind = None if inside else "a link, which is not followed out of a run's folder"
            elif stat.S_ISDIR(mode):
                table = here == folder and path.suffix in _TABLES
                kind = "a folder, where a run has a file" if table else None
                if kind is None and not (here == folder and entry.name == _OF_LOGGERS):
                    waiting.append(path)
            else:
                kind = None if stat.S_ISREG(mode) else "not a plain file"
            if kind is not None:
                raise UsageError(f"'{path}' is {kind}; replace it by the file itself, or remove it")


def runs_in(folder: Path) -> Iterator[Path]:
    """The runs in a folder, or the folder itself if it is one; links, such as ``latest``, are left out."""
    if (folder / "config.yaml").is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if not path.is_symlink() and (path / "config.yaml").is_file():
            yield path


def require_groups(config: Mapping[str, Any]) -> None:
    """Raise a UsageError unless all settings that decide what is learned are there: today's defaults may
    differ."""
    for key in (*GROUPS, *_ALSO):
        if config.get(key) is None or (key in GROUPS and not config[key]):
            raise UsageError(f"it has no {key}, and today's default may differ")
    for key in GROUPS:
        if not isinstance(config[key], Mapping):
            raise UsageError(f"{key} is a group of settings, not '{shown(config[key], 40)}'")
    for key in ("method", "backbone", "data"):
        if not isinstance(config[key].get("name"), str):
            raise UsageError(f"{key}.name is not text")


def require_complete(config: Mapping[str, Any]) -> None:
    """Raise a UsageError if a group lacks a setting that every run has."""
    method, chosen = config["method"]["name"], []
    if method in options("method"):
        optimizer = config["method"].get("optimizer") or {}
        parts = {"method": method, "optimizer": optimizer.get("name"), "schedule": optimizer.get("schedule")}
        chosen = [f"{group}={name}" for group, name in parts.items() if name in options(group)]
    known = defaults("train", chosen)
    needed = {f"{group}.{key}" for group in ("guard", "online") if group in config for key in known[group]}
    needed |= _keys(known["method"], "method.") if method in options("method") else set()
    needed |= {f"backbone.{key}" for key in _BACKBONE}
    needed |= {f"data.{key}" for key in _of_all_data() if key not in _SINCE["data"]}
    needed |= {"method._target_", "method.requires", "data.source._target_"}
    views = next(view for view in known["views"].values() if isinstance(view, Mapping))
    needed |= {
        f"views.{kind}.{key}"
        for kind in config["views"]
        if kind != "repeat"
        for key in views
        if key not in _SINCE_OF_VIEWS
    }
    missing = sorted(needed - _keys(config))
    if missing:
        raise UsageError(f"it has no {missing[0]}, and may be from another version")


def _keys(config: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Dotted keys of all settings and groups."""
    found = {f"{prefix}{key}" for key in config}
    return found.union(*(_keys(v, f"{prefix}{k}.") for k, v in config.items() if isinstance(v, Mapping)))


@cache
def _of_all_data() -> set[str]:
    """The settings that every data configuration has."""
    return set.intersection(*(set(defaults("train", [f"data={name}"])["data"]) for name in options("data")))


def without_fetching(data: Any) -> Any:
    """Settings of data without downloads: the command alone decides where those are written."""
    if not isinstance(data, Mapping):
        return data
    return {key: False if key == _FETCHES else without_fetching(value) for key, value in data.items()}
