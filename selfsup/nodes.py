"""Reads a composed configuration by dotted keys, as it is written: references unresolved."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode


def flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, dict[str, Any], str]]:
    """Each value of nested dictionaries: its dotted key, the dictionary that holds it, its name there."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", values, key


def leaves(config: Any, prefix: str = "") -> Iterable[str]:
    """The dotted keys of all settings and of their groups."""
    for key in config:
        value = config._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
            yield from leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"


def node_at(config: DictConfig, key: str) -> Any:
    """The node of a dotted key, ``None`` where there is no such key."""
    node: Any = config
    for part in key.split("."):
        node = node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None
    return node


def value_at(config: DictConfig, key: str) -> Any:
    """The value of a dotted key as it was written, ``None`` if there is no such key."""
    node = node_at(config, key)
    return node._value() if isinstance(node, ValueNode) else node


def referred(config: DictConfig, key: str) -> str | None:
    """The full key of the setting that one refers to by ``${..length}`` alone."""
    if not re.fullmatch(r"\$\{[\w.]+\}", str(value_at(config, key))):
        return None
    target = node_at(config, key)._maybe_dereference_node()
    return None if target is None else str(target._get_full_key(None))


def default_at(config: DictConfig, key: str) -> Any:
    """The value of a dotted key with references followed, ``None`` where there is none."""
    node = node_at(config, key)
    target = None if node is None else node._maybe_dereference_node()
    return (
        OmegaConf.to_container(target, resolve=True)
        if isinstance(target, ListConfig)
        else (target._value() if isinstance(target, ValueNode) else None)
    )


def literal(value: Any) -> Any:
    r"""Plain values for OmegaConf, in whose texts ``${`` refers to nothing.

    >>> OmegaConf.create(literal({"root": r"a\${oc.env:HOME}"})).root
    'a\\${oc.env:HOME}'
    """
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", value)
    if isinstance(value, Mapping):
        return {key: literal(inside) for key, inside in value.items()}
    return [literal(inside) for inside in value] if isinstance(value, list | tuple) else value
