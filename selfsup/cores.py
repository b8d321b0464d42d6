"""Fewer threads while other programs use the cores.

The threads of an operation wait for the slowest, thousands of times a second. Where another program computes
on the core of one, all wait for the scheduler: two threads beside one busy program can be tens of times as
slow as one thread alone. Every two seconds it is looked at how much others used of these cores, and so many
are left to them.
"""

import logging
import os
import time
from contextlib import suppress
from typing import Any, NamedTuple

import psutil

SECONDS = 2.0  # between two looks
CALM = 4  # looks in a row that must find a core free, before it is used again

_logger = logging.getLogger(__name__)


class Used(NamedTuple):
    """Seconds up to some moment.

    Attributes:
        clock: that passed.
        all: that all programs computed on the cores this process may run on.
        own: that this process computed, with the processes it started.
    """

    clock: float
    all: float
    own: float


class Cores:
    """The cores this process may run on, and how many threads it takes of them.

    Sums of other numbers of threads differ in their last bits, which the line that is logged once says.
    """

    def __init__(self) -> None:
        self.most: int | None = None  # threads; known once torch is imported
        self.before, self.calm, self.told = used(), 0, False

    def look(self) -> None:
        """Take as many threads as cores are free, if the last look is seconds ago."""
        import torch

        self.most = self.most or torch.get_num_threads()
        if self.most == 1 or time.monotonic() - self.before.clock < SECONDS:
            return
        now = used()
        others = others_used(self.before, now)
        self.before = now
        free, taken = threads(self.most, len(_own_cores()), others), torch.get_num_threads()
        self.calm = self.calm + 1 if free > taken else 0
        if free < taken or self.calm >= CALM:
            torch.set_num_threads(free)
            self.calm = 0
            self._tell(others, free)

    def _tell(self, others: float, free: int) -> None:
        if not self.told:
            _logger.warning(
                f"other programs use {others:.1f} of {len(_own_cores())} cores: threads go down from "
                f"{self.most} to {free} while they do; the last bits of sums differ between them, and "
                f"OMP_NUM_THREADS={self.most} in front of the command keeps {self.most}"
            )
        self.told = True


_cores: Cores | None = None


def watch() -> None:
    """From now on :func:`look` looks, unless the environment says how many threads there are."""
    global _cores
    _cores = None if "OMP_NUM_THREADS" in os.environ else Cores()


def keep() -> None:
    """Keep the number of threads: where the same bits are asked for, or processes share the cores."""
    global _cores
    _cores = None


def look() -> None:
    """Take fewer threads if others use the cores, or more again; called between batches, it costs nothing.

    Only commands watch (:func:`watch`): a program that imports selfsup has its threads as it set them.
    """
    if _cores is not None:
        _cores.look()


def threads(most: int, cores: int, others: float) -> int:
    """How many to take of at most ``most``, where others use so many of the cores.

    >>> [threads(2, 2, others) for others in (0.4, 0.6, 1.0, 2.0)]
    [2, 1, 1, 1]
    >>> threads(8, 16, 3.1)
    8
    """
    return max(1, min(most, int(cores - others + 0.5)))


def others_used(before: Used, now: Used) -> float:
    """Cores that were busy between two moments with others than this process and those it started.

    >>> others_used(Used(0.0, 100.0, 50.0), Used(4.0, 107.0, 53.0))
    1.0
    """
    return max(0.0, (now.all - before.all) - (now.own - before.own)) / (now.clock - before.clock)


def used() -> Used:
    """What has been used so far."""
    each = psutil.cpu_times(percpu=True)
    busy = sum(_busy(each[core]) for core in _own_cores() if core < len(each))
    return Used(time.monotonic(), busy, time.process_time() + _children())


def _children() -> float:
    """Seconds computed by processes that this one started: loading ones, which are to keep their core."""
    ended = os.times()
    seconds = ended.children_user + ended.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


def _busy(times: Any) -> float:
    # A guest's time is part of the user's, and Windows' interrupts are part of the system's. What the host of
    # a virtual machine gave to others ("steal") counts.
    left_out = ("idle", "iowait", "guest", "guest_nice", "interrupt", "dpc")
    return float(sum(value for name, value in times._asdict().items() if name not in left_out))


def _own_cores() -> list[int]:
    if hasattr(psutil.Process, "cpu_affinity"):  # not on macOS
        return list(psutil.Process().cpu_affinity() or [])
    return list(range(psutil.cpu_count() or 1))
