"""The processes that load images: their number, their set-up, and the message if one is lost."""

import atexit
import gc
import multiprocessing.util  # imported first, so that its exit handler runs after ours
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selfsup.errors import RunStopped
from selfsup.processes import launched

MOST = 16  # per training process; more would wait for the disk, or for the training


def worker_count(setting: int | str, source: Any, processes: int = 1) -> int:
    """Processes that decode for one process that trains: none for a source in memory.

    Args:
        setting: ``data.workers``, a number or "auto": this process's share of the cores, at most 16.
        processes: that train on this machine.
    """
    if source.images is not None:
        return 0
    return max(1, min(MOST, _own_cores(processes))) if setting == "auto" else int(setting)


def _own_cores(processes: int) -> int:
    """This process's share of the cores: what SLURM gave it, or a part of the machine's."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal() and launched().launcher == "srun":
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // processes


def begin_worker(worker: int = 0) -> None:
    """Set up a process that loads images; for ``worker_init_fn``.

    It ignores signals, and its garbage collector skips its parent's objects. A terminal, a scheduler and a
    service manager send signals to all processes of a group. A worker that died of one would end the step
    that the training has to finish and save. It still ends when it is no longer needed, and when its parent
    is gone.

    A forked process shares its parent's memory until one of them writes there, and a collection writes to
    every object: the first full one, which may come in the middle of an epoch, would copy all that the
    parent's imports made, over 100 MB in each process.
    """
    signal.set_wakeup_fd(-1)  # the training's handler, which would treat a worker's signal as its own
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    gc.freeze()


@atexit.register
def _end_workers() -> None:
    """Workers that are still running when a program ends: multiprocessing would wait for them."""
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()


@contextmanager
def explain_dead_worker(how_to_go_on: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn torch's error about a killed worker into a sentence.

    torch raises this from a signal handler, so it can come up anywhere in the training.

    Raises:
        RunStopped: instead of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunStopped(
            "a process that loads images was killed, as the system does where memory runs out; "
            "lower data.workers or batch_size, or give shared memory (/dev/shm) more room"
            + (f"; {how_to_go_on()}" if how_to_go_on else "")
        ) from error
