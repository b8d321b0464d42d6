"""The splits of a source by name."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from selfsup.data.source import Source


class Splits(Mapping[str, Source]):
    """Named splits, each read when it is first asked for.

    Args:
        readers: functions without arguments; one with two names is called once.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Source]]):
        once = {reader: cache(reader) for reader in readers.values()}
        self._readers = {name: once[reader] for name, reader in readers.items()}

    def __getitem__(self, name: str) -> Source:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers  # Mapping would read the split to answer

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)
