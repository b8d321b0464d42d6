"""A lock between processes that share a folder, where the system has such locks."""

from pathlib import Path
from typing import IO


class Lock:
    """A lock that the kernel releases when its last holder ends, a killed one too.

    Taking it raises an ImportError or an OSError where the system or the file system has no locks.
    """

    def __init__(self, path: Path):
        self.path = path
        self.file: IO[bytes] | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Whether the lock was taken; without ``wait`` it may be another's."""
        import fcntl

        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self.file = file
        return True

    def release(self) -> None:
        """Let another take it."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
