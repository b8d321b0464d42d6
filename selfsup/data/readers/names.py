"""Millions of names in two arrays instead of as many Python objects."""

import os
from collections.abc import Iterable

import numpy as np


class FileNames:
    """File names as a sequence of text that takes their bytes and 8 more each; can be pickled.

    Bytes that are not text in the file system's encoding come out as surrogates, as from `os.listdir`.

    Args:
        text: uint8, the names one after the other.
        ends: int64 (N,), where in ``text`` each name ends.

    >>> names = FileNames.of(["a.jpg", "line\\nbreak.jpg"])
    >>> len(names), names[1]
    (2, 'line\\nbreak.jpg')
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str | bytes]) -> "FileNames":
        encoded = [os.fsencode(name) for name in names]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int, /) -> str:
        if not 0 <= i < len(self.ends):
            raise IndexError(i)
        start = int(self.ends[i - 1]) if i else 0
        return os.fsdecode(self.text[start : int(self.ends[i])].tobytes())

    def picked(self, rows: np.ndarray) -> "FileNames":
        """The names at some positions.

        >>> FileNames.of(["a", "bcd", "ef"]).picked(np.array([1, 2]))[1]
        'ef'
        """
        starts = np.concatenate([[0], self.ends[:-1]])[rows] if len(rows) else self.ends[:0]
        lengths = self.ends[rows] - starts
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        return FileNames(self.text[places], ends)


class Below:
    """Names as paths below a folder."""

    def __init__(self, top: str, names: FileNames):
        self.top, self.names = top, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int, /) -> str:
        return os.path.join(self.top, self.names[i])


class Numbered:
    """Names that differ in a number."""

    def __init__(self, name: str, count: int):
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int, /) -> str:
        return f"{self.name} {i}"
