"""Ranges of numbers, declared in the configuration files beside the settings that they limit.

A file's block ``ranges`` maps settings, by their dotted names from where the block stands, to intervals::

    temperature: 0.2
    projector: {hidden: 512, layers: 2}
    ranges:
      temperature: "(0, inf)"
      projector.hidden: "[1, 65536]"
      projector.layers: "[1, 100]"

Hydra composes the blocks with the settings, so a file that builds on another has its ranges too; then they
are removed (:func:`take_ranges`), and no run, listing or command line ever sees them. A setting that only
refers to another (``${..length}``) has that one's range.

Around an interval, in this order:

* ``whole``: whole numbers only, which is implied by a whole default;
* ``x 2``: a list of so many, each in the interval (a list of any other length where the default is a list);
* ``ascending``: each at least as large as the one before it;
* ``or auto``: this word instead; ``or null``; ``or list``: any list; ``or pair``: two such numbers;
* ``; words``: a remark for the error message.
"""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, open_dict

from selfsup.errors import UsageError
from selfsup.text import shown

BLOCK = "ranges"
_LARGEST = 2**63 - 1  # the largest whole number of tensors, files and Lightning
_FORM = re.compile(
    r"(whole )?([\[(])([^\s,]+), ([^\s,]+)([\])])(?: x (\d+))?( ascending)?"
    r"((?: or [\w-]+)*)(?:; (.+))?"
)
_LENGTHS = {2: "two", 3: "three"}
_KINDS = {
    "null": "null",
    "list": "a list",
    "pair": "two such numbers in a list",
}  # words with a special meaning


@dataclass(frozen=True)
class Range:
    """An interval and alternatives to it; see the module's docstring."""

    whole: bool
    low: float
    high: float
    low_open: bool
    high_open: bool
    length: int | None
    ascending: bool
    others: tuple[str, ...]
    remark: str | None

    def holds(self, value: Any, default: Any) -> bool:
        """Whether a setting of this default may have this value."""
        if value is None:
            return default is None or "null" in self.others
        if isinstance(value, list):
            if "pair" in self.others and len(value) == 2:
                return all(self._holds_number(each, default) for each in value)
            if not self._many(default) or (value and all(isinstance(each, list) for each in value)):
                return "list" in self.others and all(map(_finite, value))
            fits = len(value) == self.length if self.length else bool(value)
            numbers = fits and all(self._holds_number(each, default) for each in value)
            return numbers and (not self.ascending or value == sorted(value))
        if str(value) in self.others and value not in _KINDS:
            return True
        return not self._many(default) and self._holds_number(value, default)

    def _holds_number(self, value: Any, default: Any) -> bool:
        kinds = int if self._whole(default) else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or value != value:
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and (isinstance(value, float) or abs(value) <= _LARGEST)

    def words(self, default: Any) -> str:
        """The words that follow "it has to be"."""
        whole, many = self._whole(default), self._many(default)
        numbers = f"{'whole ' if whole else ''}number{'s' if many else ''}"
        interval = self._interval()
        if many:
            count = _LENGTHS.get(self.length, str(self.length)) if self.length else "one or more"
            words = f"{count} {numbers} {interval}{' in ascending order' if self.ascending else ''}"
        elif whole or not interval:
            words = f"a {'' if whole or interval else 'finite '}{numbers} {interval}"
        else:
            words = interval
        remark = f" ({self.remark})" if self.remark else ""
        return ", or ".join([words.strip(), *(_KINDS.get(word, word) for word in self.others)]) + remark

    def _interval(self) -> str:
        low, high = (f"{end:.15g}" for end in (self.low, self.high))
        if math.isfinite(self.low) and math.isfinite(self.high) and not (self.low_open or self.high_open):
            return f"from {low} to {high}"
        least = f"{'above' if self.low_open else 'from'} {low}" if math.isfinite(self.low) else ""
        most = f"{'below' if self.high_open else 'at most'} {high}" if math.isfinite(self.high) else ""
        return " and ".join(filter(None, (least, most)))

    def _whole(self, default: Any) -> bool:
        values = default if isinstance(default, list) and default else [default]
        return self.whole or all(type(each) is int for each in values)

    def _many(self, default: Any) -> bool:
        return self.length is not None or isinstance(default, list)


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@functools.cache
def parsed(text: str) -> Range:
    """Parse a range.

    Raises:
        ValueError: it has another form.

    >>> parsed("(0, 1]").words(0.5)
    'above 0 and at most 1'
    >>> parsed("[1, inf) or auto").words(3)
    'a whole number from 1, or auto'
    >>> parsed("[0, 1) x 2").words([0.9, 0.999])
    'two numbers from 0 and below 1'
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"'{text}' is not a range; write one as in selfsup/ranges.py")
    whole, left, low, high, right, length, ascending, others, remark = form.groups()
    interval = (float(low), float(high), left == "(", right == ")")
    words = tuple(others.split(" or ")[1:])
    return Range(bool(whole), *interval, int(length) if length else None, bool(ascending), words, remark)


ANY = parsed("(-inf, inf)")


def take_ranges(config: DictConfig, prefix: str = "") -> dict[str, str]:
    """Remove the blocks from a composed configuration; returns the ranges by the settings' full names."""
    found: dict[str, str] = {}
    for key in list(config):
        value = config._get_node(key)
        if not isinstance(value, DictConfig) or value._is_none() or value._is_missing():
            continue
        if key == BLOCK:
            found |= {prefix + str(name): str(text) for name, text in value.items()}
            with open_dict(config):
                del config[key]
        else:
            found |= take_ranges(value, f"{prefix}{key}.")
    return found


def require_range(key: str, limits: Range, value: Any, default: Any, sources: Sequence[str] = ()) -> None:
    """Raise a UsageError, one sentence, unless the setting ``key`` may have this value.

    Args:
        default: the setting's default, whose type decides if ``limits`` do not.
        sources: other settings that the value was taken from.
    """
    if limits.holds(value, default):
        return
    given = "null" if value is None else shown(value, 60)
    whence = f" (from {', '.join(sources)})" if sources else ""
    beyond = isinstance(value, int) and value > _LARGEST and math.isinf(limits.high)
    words = f"below {_LARGEST + 1}" if beyond else limits.words(default)
    raise UsageError(f"{key} is {given}{whence}; it has to be {words}")


def like(value: Any, default: Any) -> Any:
    """A whole number, or a list of them, as floats where the default has floats.

    >>> like([0, 0.5], [0.9, 0.999]), like(1, 0.5), like(1, 3), like("auto", 0.5)
    ([0.0, 0.5], 1.0, 1, 'auto')
    """
    if isinstance(value, list):
        floats = isinstance(default, list) and any(isinstance(each, float) for each in default)
        return [like(each, 0.0) for each in value] if floats else value
    return float(value) if type(value) is int and isinstance(default, float) else value
