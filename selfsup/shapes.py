"""Checks the shape of untrusted JSON: the parts that are read, each of its type."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from selfsup.text import shown

LARGEST = 1e15  # of a number; selfsup's counts and scores are far below
NUMBER, WHOLE, TEXT, TRUTH = "a number", "a whole number", "text", "true or false"
SIDES = "a whole number, or two"  # of pixels


class Each(NamedTuple):
    """A mapping whose keys are names, with one shape for all values."""

    shape: Any


class Needed(NamedTuple):
    """A value of a mapping that may neither be absent nor null."""

    shape: Any


def fault(value: Any, shape: Any, where: str = "") -> str | None:
    """What does not fit, in a few words, or None. An optional part fits if it is absent or null.

    Args:
        value: of :func:`json.loads`.
        shape: one of the words above; a mapping of shapes by key, whose other keys are not looked at;
            :class:`Each`; :class:`Needed`; a list with the shape of all items; a tuple of its items' shapes.

    >>> fault({"value": 0.5, "flags": ["a"]}, {"value": NUMBER, "flags": [TEXT]}) is None
    True
    >>> fault({"scores": {"knn": {"value": [1]}}}, {"scores": Each({"value": NUMBER})})
    "scores.knn.value is '[1]', not a number"
    """
    if isinstance(shape, Needed):
        return f"there is no {where}" if value is None else fault(value, shape.shape, where)
    if value is None:
        return None
    if isinstance(shape, str):
        return None if _is(value, shape) else f"{where or 'it'} is '{shown(value, 40)}', not {shape}"
    if isinstance(shape, Each | Mapping):
        if not isinstance(value, Mapping):
            return f"{where or 'it'} is '{shown(value, 40)}', not a group of values"
        pairs = [(key, shape.shape) for key in value] if isinstance(shape, Each) else [*shape.items()]
        each = ((key, value.get(key), inner) for key, inner in pairs)
    else:
        if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
            return f"{where or 'it'} is '{shown(value, 40)}', not such a list"
        inner_shapes = shape if isinstance(shape, tuple) else shape * len(value)
        each = ((i, one, inner) for i, (one, inner) in enumerate(zip(value, inner_shapes, strict=True)))
        if None in value:
            return f"{where or 'it'} has an item that is null"
    found = (fault(one, inner, f"{where}.{shown(key, 40)}".lstrip(".")) for key, one, inner in each)
    return next(filter(None, found), None)


def without_null(value: Any, shape: Any) -> Any:
    """A fitting value without its nulls, so that a null counts as absent.

    >>> without_null({"value": None, "flags": ["a"]}, {"value": NUMBER, "flags": [TEXT]})
    {'flags': ['a']}
    """
    if isinstance(shape, Needed):
        return without_null(value, shape.shape)
    if isinstance(shape, Each):
        return {key: without_null(one, shape.shape) for key, one in value.items() if one is not None}
    if isinstance(shape, Mapping):
        kept = {key: one for key, one in value.items() if one is not None}
        return {key: without_null(one, shape[key]) if key in shape else one for key, one in kept.items()}
    if isinstance(shape, list):
        return [without_null(one, shape[0]) for one in value]
    return value


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == SIDES:
        both = value if isinstance(value, list) and len(value) == 2 else [value]
        return all(_is(side, WHOLE) for side in both)
    if isinstance(value, bool) or kind == TRUTH:
        return isinstance(value, bool) and kind == TRUTH
    kinds = int if kind == WHOLE else (int, float)
    return isinstance(value, kinds) and math.isfinite(value) and abs(value) <= LARGEST
