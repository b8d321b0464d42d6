"""The ``key=value`` of a command as Hydra reads them: text in quotes, several data as settings of each."""

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from selfsup.errors import UsageError


def in_grammar(default: Any, key: str, override: str) -> str:
    """An override in Hydra's grammar, in which text such as a path needs quotes.

    Args:
        default: of the setting ``key``, which says whether it is text.

    >>> in_grammar(None, "data.root", "data.root=my images")
    "data.root='my images'"
    """
    value = override.partition("=")[2]
    text = isinstance(default, str) or default is None
    if key == "encoder" and value.startswith("["):
        names = [name.strip() for name in value.strip("[]").split(",")]
        return f"{key}=[{','.join(quoted(name) for name in names if name)}]"
    if text and re.search(r"[^\w.+-]", value) and value[0] not in "[{'\"":
        override = f"{key}={quoted(value)}"
    return override


def spread(overrides: Iterable[str], path_setting: Callable[[str], str | None]) -> list[str]:
    """Overrides in which a list of data is settings of each; others are left alone.

    An element is a name of ``configs/data``, or ``KIND:PATH`` for data whose path has to be given. It is
    called by that name, or by the last part of its path. ``data.KEY`` is of all sets then, and
    ``sets.NAME.KEY`` of one.

    Args:
        path_setting: of a name of ``configs/data`` the setting that its path goes to, None without one;
            raises a UsageError if there is no such name.

    Raises:
        UsageError: an unknown name, one that takes no path, or a set that is given twice.

    >>> spread(["data=[digits,folder:my/images]", "data.workers=0"], lambda kind: "root")[:3]
    ['sets.digits.data=digits', 'sets.images.data=folder', "sets.images.root='my/images'"]
    """
    overrides = list(overrides)
    lists = [each for each in overrides if each.startswith("data=[")]
    if not lists:
        return overrides
    given = [each.strip() for each in lists[-1].removeprefix("data=[").removesuffix("]").split(",")]
    sets = [_kind_and_path(each) for each in given if each]
    if not sets:
        raise UsageError("data=[] names no data; give at least one")
    for each in sets:
        if sets.count(each) > 1:
            raise UsageError(f"data=[...] has '{':'.join(filter(None, each))}' twice; name each set once")
    found: list[str] = []
    for (kind, path), name in zip(sets, _names(sets), strict=True):
        found.append(f"sets.{name}.data={kind}")
        key = path_setting(kind)
        if path and key is None:
            raise UsageError(f"data={kind} takes no path; write {kind} instead of {kind}:{path}")
        if path:
            found.append(f"sets.{name}.{key}={quoted(path)}")
    rest = [each for each in overrides if each not in lists]
    typed = [each.split(".")[1] for each in rest if re.match(r"sets\.\w+\.", each)]
    common = [each.removeprefix("data.") for each in rest if each.startswith("data.")]
    found += [f"sets.{name}.{each}" for name in dict.fromkeys(_names(sets) + typed) for each in common]
    return found + [each for each in rest if not each.startswith("data.")]


def quoted(value: str) -> str:
    """A text in Hydra's quotes: backslashes stand for themselves, but for those before a quote.

    >>> print(quoted("it's"))
    'it\\'s'
    """
    text = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + ("\\'" if end[2] else ""), value)
    return f"'{text}'"


def _kind_and_path(element: str) -> tuple[str, str]:
    kind, _, path = element.partition(":")
    return kind, os.path.normpath(path) if path else ""


def _names(sets: list[tuple[str, str]]) -> list[str]:
    """What each set is called: in letters, digits and underscores, which keys of settings are made of."""
    short = [_word(os.path.basename(path)) or kind for kind, path in sets]
    whole = [_word(f"{kind}_{path}") for kind, path in sets]
    return [one if short.count(one) == 1 else other for one, other in zip(short, whole, strict=True)]


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")
