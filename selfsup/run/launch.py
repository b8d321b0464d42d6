"""The processes of a run: describing them to Lightning, starting them, noticing that one has ended."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from selfsup.callbacks.checkpoint_files import last_good
from selfsup.callbacks.signals import StopSignals
from selfsup.errors import RunStopped, UsageError
from selfsup.processes import MINUTES, RUN_FOLDER, STARTED_BY, Place, lost_processes, meeting_point

_LOOK = 0.5  # seconds between two checks of the other processes
_GRACE = 15.0  # seconds for a process that lost another to end by itself, after the trainer's exception


class Environment(ClusterEnvironment):
    """Lightning's cluster environment, from a :class:`~selfsup.processes.Place` alone."""

    def __init__(self, place: Place, devices: int) -> None:
        self.place, self.devices = place, devices
        if place.launcher == "trainer":
            self.point = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", 0))
        elif place.launcher:
            self.point = meeting_point(place.launcher)
        else:
            self.point = "127.0.0.1", find_free_network_port() if place.world > 1 else 0
        # Lightning read it from variables that may be wrong.
        rank_zero_only.rank = place.rank  # type: ignore[attr-defined]

    @property
    def creates_processes_externally(self) -> bool:
        return True  # by a launcher or by selfsup, so that Lightning starts none

    @property
    def main_address(self) -> str:
        return self.point[0]

    @property
    def main_port(self) -> int:
        return self.point[1]

    @staticmethod
    def detect() -> bool:
        return False  # it is given, never detected

    def world_size(self) -> int:
        return self.place.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.rank // self.devices

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass  # selfsup.processes.in_trainer has


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher, which starts a process per device; if one is lost, the others end with a
    sentence.

    Lightning's own kills the first process without a message when another has ended, and leaves the others
    waiting when the first has.
    """

    def __init__(self, environment: Environment, nodes: int, folder: Path, signals: StopSignals) -> None:
        super().__init__(environment, environment.devices, nodes)
        self.place, self.folder, self.signals = environment.place, folder, signals
        self.where = ":".join(map(str, environment.point))

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        if self.place.world > 1 and not torch.distributed.is_initialized():
            self.signals.looking(MINUTES, self.where)
            if self.place.launcher == "trainer":
                self._watch(_Parent().lost)
            else:
                os.environ |= {STARTED_BY: str(os.getpid()), RUN_FOLDER: str(self.folder.absolute())}
                self._call_children_scripts()
                self._watch(self._lost_child)
        return super().launch(function, *args, trainer=trainer, **kwargs)

    def _watch(self, lost: Callable[[], str | None]) -> None:
        """Start a thread that ends this process if another is lost and the main thread does not notice in
        time."""

        def work() -> None:
            while (sentence := lost()) is None:
                time.sleep(_LOOK)
            if not self.signals.looks:
                time.sleep(_GRACE)
            if self.signals.looks or self.signals.training:
                end = f"{sentence}, and the run cannot continue without it; {last_good(self.folder)}"
                self.signals.leave(end)

        threading.Thread(target=work, name="processes", daemon=True).start()

    def _lost_child(self) -> str | None:
        for rank, process in enumerate(self.procs, 1):
            if process.poll():
                return f"process {rank} of {self.place.world} {_ending(process.returncode)}"
        return None


class _Parent:
    """Watch the process that started this one."""

    def __init__(self) -> None:
        self.now, self.first = os.getppid(), int(os.environ[STARTED_BY])

    def lost(self) -> str | None:
        """A sentence once it has ended."""
        there = os.getppid() == self.now and (self.now == self.first or _exists(self.first))
        return None if there else "the first process of this run has ended"


def _exists(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def agreed(trainer: pl.Trainer, place: Place, signals: StopSignals, make: Callable[[], Path]) -> Path:
    """The run's folder, which only the first process makes.

    Processes that a run started get its path from the first. Those of a launcher find each other now, before
    anything is written, and receive it.

    Raises:
        UsageError: the first process cannot make the folder, or the processes do not find each other.
    """
    if place.launcher == "trainer":
        return Path(os.environ[RUN_FOLDER])
    if not place.launcher:
        return make()
    where = ":".join(map(str, meeting_point(place.launcher)))
    signals.looking(MINUTES, where)
    with signals.waiting(), lost_processes(lambda: f"they meet at {where}"):
        trainer.strategy.setup_environment()
    signals.found()
    said: list[Any] = ["", ""]
    try:
        if place.rank == 0:
            folder = make()
            said[0] = str(folder.absolute())
    except (UsageError, RunStopped, OSError) as error:
        said[1] = str(error)
        raise
    finally:
        said = trainer.strategy.broadcast(said, src=0)
    if said[1]:
        raise UsageError(f"the first process ended: {said[1]}")
    return folder if place.rank == 0 else Path(said[0])
