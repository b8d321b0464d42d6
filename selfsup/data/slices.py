"""The grammar of splits: ``train``, ``train[:90%]``, ``train[1000:2000]+test``. Needs no torch."""

import re
from dataclasses import dataclass

from selfsup.errors import UsageError

_PART = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:\[([^\[\]]*)\])?\s*")
_EXAMPLES = "write a split's name, a slice such as train[:90%] or train[1000:2000], or several joined by +"


@dataclass(frozen=True)
class Slice:
    """A part of a split; ``start`` and ``stop`` are as they were written, ``""`` where left out."""

    split: str
    start: str = ""
    stop: str = ""

    @property
    def whole(self) -> bool:
        return not self.start and not self.stop

    def bounds(self, n: int) -> tuple[int, int]:
        """First position and the one after the last, of a split of n images.

        A percentage means the nearest position, so that ``[:p%]`` and ``[p%:]`` split the images at one
        place. As in a Python slice, negative positions count from the end, and those past it mean the end.

        >>> Slice("train", "", "90%").bounds(15), Slice("train", "-3", "").bounds(15)
        ((0, 14), (12, 15))
        """
        start = _position(self.start, n) if self.start else 0
        stop = _position(self.stop, n) if self.stop else n
        return start, max(start, stop)


def parse_splits(text: str, setting: str = "data.train") -> list[Slice]:
    """The parts that an expression joins.

    Args:
        text: as in the module's docstring.
        setting: its setting, for error messages.

    Raises:
        UsageError: if it is not such an expression.

    >>> parse_splits("train[:90%]+test")
    [Slice(split='train', start='', stop='90%'), Slice(split='test', start='', stop='')]
    """
    parts = []
    for part in str(text).split("+"):
        match = _PART.fullmatch(part)
        if match is None:
            raise UsageError(f"{setting} must not be '{text}'; {_EXAMPLES}")
        parts.append(_slice(match[1], match[2], f"{setting}={text}"))
    return parts


def looks_like_splits(text: str) -> bool:
    """Whether ``text`` could be such an expression, rather than a path with a dot, a slash or a pattern."""
    return all(re.fullmatch(r"\s*[A-Za-z_][\w-]*\s*(\[[^\[\]]*\])?\s*", part) for part in text.split("+"))


def path_and_slice(text: str) -> tuple[str, str]:
    """A path that may have a slice at its end, in two; the brackets of a pattern hold no colon.

    >>> path_and_slice("a/train-[0-9].parquet[:90%]"), path_and_slice("a/train-[0-9].parquet")
    (('a/train-[0-9].parquet', '[:90%]'), ('a/train-[0-9].parquet', ''))
    """
    match = None if looks_like_splits(text) else re.fullmatch(r"(.+)(\[[^\[\]]*:[^\[\]]*\])", text)
    return (match[1], match[2]) if match else (text, "")


def _slice(split: str, inside: str | None, written: str) -> Slice:
    if inside is None:
        return Slice(split)
    ends = [end.strip() for end in inside.split(":")]
    if len(ends) != 2:
        raise UsageError(f"'[{inside}]' in {written} has to be [from:to], such as [:90%] or [1000:2000]")
    for end in ends:
        if not re.fullmatch(r"|-?\d+|\d+(\.\d+)?%", end):
            raise UsageError(f"'{end}' in {written} is neither a whole number nor a percentage such as 90%")
        if end.endswith("%") and float(end[:-1]) > 100:
            raise UsageError(f"'{end}' in {written} is more than all of the split")
    return Slice(split, *ends)


def _position(end: str, n: int) -> int:
    if end.endswith("%"):
        # Half up; Python's round would round two halves to different sides.
        return int(float(end[:-1]) * n / 100 + 0.5)
    position = int(end)
    return min(max(position + n if position < 0 else position, 0), n)
