"""YAML of plain values: settings in a file that may be a stranger's."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import yaml

_LARGEST = 2**20  # bytes
_MOST_VALUES, _DEEPEST, _LARGEST_INT = 10_000, 32, 2**63
_PLAIN = (str, int, float, bool, type(None))


def parse(text: str) -> dict[str, Any]:
    """The mapping in a YAML text: nothing but texts, numbers, true, false and null, in lists and mappings.

    Raises:
        ValueError: it is damaged, or holds something else; its words follow "it".

    >>> parse("lr: 0.1")
    {'lr': 0.1}
    """
    if len(text) > _LARGEST:
        raise ValueError("exceeds 1 MiB")
    try:
        found = yaml.safe_load(text)
    # It also raises errors of Python's types, for an impossible date or number.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"is damaged ({reason})") from error
    if not isinstance(found, dict):
        raise ValueError("is not a configuration of a run")
    _require_plain(found)
    return found


def _require_plain(config: Mapping[Any, Any]) -> None:
    """Aliases make a YAML file of a few lines a tree of 2^40 values, or one that contains itself."""
    waiting: deque[tuple[Any, int]] = deque([(config, 0)])
    left = _MOST_VALUES
    while waiting:
        value, depth = waiting.popleft()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ValueError("has more values than any configuration of selfsup")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or not key:
                    raise ValueError(f"has the key {key!r}, which is not a name")
            waiting.extend((inside, depth + 1) for inside in value.values())
        elif isinstance(value, list):
            waiting.extend((inside, depth + 1) for inside in value)
        elif not isinstance(value, _PLAIN):
            raise ValueError(f"holds a {type(value).__name__}, which is not a setting")
        elif isinstance(value, int) and abs(value) >= _LARGEST_INT:
            raise ValueError("holds a whole number that is too large for a setting")
