"""Types and ranges of settings: whether a value may stand where its default does."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig

from selfsup.errors import UsageError
from selfsup.nodes import default_at, flat, referred, value_at
from selfsup.ranges import ANY, like, parsed, require_range

# Settings that something else checks.
FREE = ("backbone.model_args.", "data.sources.", "bank.", "banks.", "sets.", "query.", "target.", "space.")


def require_type(key: str, default: Any, value: Any, ranges: Mapping[str, str]) -> None:
    """Raise a UsageError unless a setting's value is of its default's type."""
    words = parsed(ranges[key]).others if key in ranges else ()
    if value is None and (key.startswith(FREE) or "null" in words):
        return
    if isinstance(value, str) and value in words:
        return
    if isinstance(value, ListConfig) and "pair" in words:
        return
    if default is None or isinstance(default, str):
        refers = isinstance(default, str) and "${" in default  # to a possible group
        if isinstance(value, DictConfig) and not refers and not f"{key}.".startswith(FREE):
            raise UsageError(f"{key} is a single value, not a group of settings")
        return
    expected: tuple[tuple[type, ...], str]
    if isinstance(default, bool):
        expected = (bool,), "true or false"
    elif isinstance(default, int):
        expected = (int,), "a whole number"
    elif isinstance(default, float):
        expected = (int, float), "a number"
    elif isinstance(default, ListConfig):
        example = str(default).replace(" ", "").replace("'", "")
        expected = (ListConfig,), f"a list such as {key}={example}"
    else:
        expected = (DictConfig,), "a group of settings; set one of them as key.name=value"
    if not isinstance(value, expected[0]) or (isinstance(value, bool) and expected[0] != (bool,)):
        raise UsageError(f"{key} is {expected[1]}, not '{'null' if value is None else value}'")


def check_numbers(
    bare: DictConfig, ranges: Mapping[str, str], given: dict[str, Any], written: DictConfig | None = None
) -> None:
    """Raise a UsageError unless numbers lie in their ranges; write 1 as 1.0 where the default is a float."""
    for key, inside, name in flat(given):
        value = inside[name]
        if key in ranges:
            default = default_at(bare, key)
            if written is None or referred(written, key) not in ranges:  # which is checked by itself
                raw = "" if written is None else str(value_at(written, key))
                require_range(key, parsed(ranges[key]), value, default, re.findall(r"\$\{([\w.]+)\}", raw))
            inside[name] = like(value, default)
        elif key.startswith(FREE):
            for each in value if isinstance(value, list) else [value]:
                if type(each) in (int, float):
                    require_range(key, ANY, each, 0.0)
