"""The images of tar shards, read in place."""

import os
import tarfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


class TarImages:
    """The encoded images of shards as a sequence of bytes; can be pickled, and read in any order.

    Args:
        paths, counts: of the shards.
        firsts: place in ``starts`` of each shard's first image.
        starts: as in `ShardIndex`; stays on the disk if it is memory-mapped.
    """

    def __init__(self, paths: Sequence[str], counts: np.ndarray, firsts: np.ndarray, starts: np.ndarray):
        self.paths, self.counts, self.firsts, self.starts = list(paths), counts, firsts, starts
        self.ends = counts.cumsum()

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, i: int, /) -> bytes:
        """The encoded image.

        Raises:
            OSError: if its shard is gone, was changed, or cannot be read.
        """
        path, tar, info = self._member(i)
        assert tar.fileobj is not None
        tar.fileobj.seek(info.offset_data)
        data: bytes = tar.fileobj.read(info.size)
        if len(data) < info.size:
            raise OSError(f"{path!r} ends within it")
        return data

    def name(self, i: int) -> str:
        """The image's display name, such as "0003.tar 00017.jpg"."""
        try:
            path, _, info = self._member(i)
        except OSError:
            shard, nth = self._place(i)
            return f"{self.paths[shard]} image {nth}"
        return f"{path} {info.name}"

    def _place(self, i: int) -> tuple[int, int]:
        """Image i's shard, and its number in there."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        shard = int(np.searchsorted(self.ends, i, side="right"))
        return shard, i - int(self.ends[shard] - self.counts[shard])

    def _member(self, i: int) -> tuple[str, tarfile.TarFile, tarfile.TarInfo]:
        shard, nth = self._place(i)
        path, start = self.paths[shard], int(self.starts[int(self.firsts[shard]) + nth])
        try:
            # Two processes that share an open file would move each other's position in it.
            tar = _opened(path, os.getpid())
            assert tar.fileobj is not None
            tar.fileobj.seek(start)
            return path, tar, tarfile.TarInfo.fromtarfile(tar)
        except tarfile.TarError as error:
            raise OSError(f"{path!r} was changed or damaged since it was indexed ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if isinstance(self.starts, np.memmap):
            state["starts"] = Path(str(self.starts.filename))  # its content stays where it is
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        starts = state["starts"]
        self.__dict__.update(state)
        self.starts = np.load(starts, mmap_mode="r") if isinstance(starts, Path) else starts


def _most_open() -> int:
    """How many shards a process keeps open: half of its limit of files, as a batch reads from many."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 256
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**14 if most == resource.RLIM_INFINITY else max(16, most // 2)


@lru_cache(maxsize=_most_open())
def _opened(path: str, process: int) -> tarfile.TarFile:
    return tarfile.open(path, "r:")
