"""Allowed values of ``_target_`` and ``data.decode``: those in our own configurations, and what the user
typed."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from selfsup.config import config_root
from selfsup.errors import UsageError

_typed: ContextVar[frozenset[str]] = ContextVar("typed", default=frozenset())


@cache
def our_targets(group: str) -> frozenset[str]:
    """The targets of the configurations of a group, such as ``data``.

    >>> "selfsup.data.digits" in our_targets("data"), "os.system" in our_targets("data")
    (True, False)
    """
    texts = (path.read_text(encoding="utf-8") for path in (config_root() / group).glob("*.yaml"))
    return frozenset(
        found for text in texts for found in re.findall(r"^\s*_target_: (\S+)", text, re.MULTILINE)
    )


@contextmanager
def typed(config: Mapping[str, Any]) -> Iterator[None]:
    """A block that may call the targets of ``config``, which was composed from the user's own command.

    Never use it for a configuration that was read from a file.
    """
    token = _typed.set(_typed.get() | frozenset(_targets(config)))
    try:
        yield
    finally:
        _typed.reset(token)


def may_call(name: Any, group: str) -> bool:
    """Whether ``name`` is one of the group's targets, or was typed."""
    return isinstance(name, str) and (name in our_targets(group) or name in _typed.get())


def load_target(name: Any, group: str, setting: str) -> Callable[..., Any]:
    """The function or class that a configuration names.

    Checked just before the call, when everything is composed, so that no notation bypasses the check.

    Args:
        name: the value of ``setting``.
        group: whose configurations may name it: ``data`` or ``method``.

    Raises:
        UsageError: it is not one of ours and was not typed, or it does not exist.
    """
    from hydra.utils import get_object

    if not may_call(name, group):
        raise UsageError(
            f"{setting} would call {name}, which no configuration of selfsup does and the command does not "
            f"name; add {setting}={name} to the command if you trust it"
        )
    try:
        found = get_object(str(name).replace(":", "."))
    except (ImportError, ValueError) as error:
        raise UsageError(f"no function {name!r} to import ({setting})") from error
    if not callable(found):
        raise UsageError(f"{name!r} cannot be called ({setting})")
    return found  # type: ignore[no-any-return]


def _targets(value: Any) -> Iterator[str]:
    for key, inside in value.items() if isinstance(value, Mapping) else ():
        if key in ("_target_", "decode") and isinstance(inside, str):
            yield inside
        yield from _targets(inside)
