"""Suggestions for an unknown setting, option or encoder."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

# A setting's name in other programs, and its last part here.
_ELSEWHERE = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "gpus": "devices",
    "num_gpus": "devices",
    "num_workers": "workers",
    "bs": "batch_size",
    "img_size": "image_size",
    "arch": "backbone",
    "model": "backbone",
    "dataset": "data",
    "checkpoint": "resume",
    "output_dir": "out",
}
_FILES = {  # what holds images, by the ending of its name: the data, and its setting
    ".csv": ("files", "files"),
    ".tsv": ("files", "files"),
    ".txt": ("files", "files"),
    ".npy": ("arrays", "images"),
    ".parquet": ("parquet", "train"),
    ".tar": ("shards", "train"),
}


def near(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or the list of all options if none is near."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(known)}"


def near_data(value: str, known: Iterable[str]) -> str:
    """As :func:`near`, for the name of a data configuration; users often give files instead."""
    path = Path(value).expanduser()
    data, setting = _FILES.get(path.suffix.lower(), ("folder", "root"))
    if "/" in value or path.suffix.lower() in _FILES or path.exists():
        return f"; files are named by a setting: data={data} data.{setting}={value}"
    return near(value, known)


def for_setting(key: str, known: Sequence[str], chosen: Mapping[str, str], root: Path, command: str) -> str:
    """A suggestion for an unknown setting, as the end of a sentence.

    In this order: the same setting of an option that was not chosen, a setting with the same last part, one
    whose last part has all its words, one with a similar spelling.

    Args:
        known: all settings, by dotted names.
        chosen: the chosen option of groups such as ``method``.
        root: of the configuration files.
        command: whose settings they are.
    """
    others = _of_files(root)
    group = key.rpartition(".")[0]
    if named := others.get(key):
        first = key.partition(".")[0]
        if first not in chosen:
            return f"'selfsup {command}' has no {first}"
        have = ", ".join(sorted(named)[:5]) + (" and others" if len(named) > 5 else "")
        verb = "has" if len(named) == 1 else "have"
        return f"{first}={have} {verb} it, {first}={chosen[first]} does not"
    if meant := candidates(key, known):
        return f"did you mean {' or '.join(repr(name) for name in meant)}?"
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
        return f"did you mean '{close[0]}'?"
    if elsewhere := candidates(key, list(others), words=False):
        first, option = elsewhere[0].partition(".")[0], sorted(others[elsewhere[0]])[0]
        return f"did you mean '{elsewhere[0]}' of {first}={option}?"
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    if siblings := [name for name in siblings if not name.startswith("_")]:
        return f"there are {', '.join(siblings)}"
    return "'--help' says where all settings are listed"


def candidates(key: str, known: Sequence[str], words: bool = True) -> list[str]:
    """Up to three settings with the last part of ``key``, or, with ``words``, whose last part contains its
    words.

    Those of the same group come first, then less nested ones.

    >>> candidates("method.lr", ["batch_size", "online.lr", "method.optimizer.lr"])
    ['method.optimizer.lr']
    >>> candidates("epochs", ["online.every_epochs", "trainer.max_epochs", "trainer.max_steps"])
    ['online.every_epochs', 'trainer.max_epochs']
    """
    first, last = key.partition(".")[0], key.rpartition(".")[2]
    last = _ELSEWHERE.get(last, last)
    found = [name for name in known if name.rpartition(".")[2] == last]
    if not found and words:
        asked = set(last.split("_"))
        found = [name for name in known if asked <= set(name.rpartition(".")[2].split("_"))]
    same = [name for name in found if "." in key and name.partition(".")[0] == first]
    return sorted(same or found, key=lambda name: name.count("."))[:3]


def _of_files(root: Path) -> dict[str, set[str]]:
    """The options of groups that have a setting, by its dotted name. Inherited settings are left out."""
    found: dict[str, set[str]] = {}
    for path in root.glob("*/*.yaml"):
        group, text = path.parent.name, path.read_text(encoding="utf-8")
        if group == "experiment":
            continue
        package = re.match(r"# @package (\S+)", text)
        prefix = package[1] if package else group
        for key in _dotted(yaml.safe_load(text) or {}):
            found.setdefault(f"{prefix}.{key}", set()).add(path.stem)
    return found


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        if key in ("defaults", "ranges", "_target_"):
            continue
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"
