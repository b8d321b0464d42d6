"""The rank of this process, the number of processes, and where they meet: one answer for all of selfsup.

It is read from the environment, before torch is imported. A launcher's variables count if they describe
several processes completely. Contradictions are reported in a sentence: two processes that both act as the
first, or one that waits for others that never come, lose data or time.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.errors import RunStopped, UsageError

STARTED_BY = "SELFSUP_STARTED_BY"  # in processes that a run starts for other devices: the id of the first
RUN_FOLDER = "SELFSUP_RUN_FOLDER"  # also set there: the folder that the first process made
MINUTES = 10  # for which processes wait for each other
_WRITTEN = (STARTED_BY, RUN_FOLDER, "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SHELLS = ("bash", "interactive")  # SLURM's names of interactive jobs


class Place(NamedTuple):
    """A process among those that work together.

    Attributes:
        rank: its number, from 0.
        world: how many there are, on all machines.
        local_rank: its number on its machine, which is that of its device.
        launcher: torchrun, srun, jsrun, mpirun, or "trainer" if a run started it for another of its devices;
            empty for a process that was started by itself.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    launcher: str = ""


class _Launcher(NamedTuple):
    name: str
    rank: str
    world: str
    local_rank: str


_LAUNCHERS = (
    _Launcher("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    _Launcher("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    _Launcher("mpirun", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),
    _Launcher("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    _Launcher("srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    _Launcher("jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK"),
    # Last: srun and jsrun set these for programs of MPI.
    _Launcher("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
)


def launched(environ: Mapping[str, str] = os.environ) -> Place:
    """This process, as described by its launcher; the only one without a launcher.

    Raises:
        UsageError: invalid or incomplete variables of a launcher.

    >>> launched({"SLURM_PROCID": "3"})  # a shell within an allocation
    Place(rank=0, world=1, local_rank=0, launcher='')
    >>> launched({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"})
    Place(rank=3, world=4, local_rank=1, launcher='srun')
    """
    if STARTED_BY in environ:
        rank, world = _whole(environ.get("LOCAL_RANK")), _whole(environ.get("WORLD_SIZE"))
        if rank is None or world is None or not 0 < rank < world:
            raise UsageError(f"{STARTED_BY} is set, which a run sets for the processes it starts; unset it")
        return Place(rank, world, rank, "trainer")
    for launcher in _LAUNCHERS:
        if _means_several(launcher, environ):
            return _place(launcher, environ)
    return Place()


def _means_several(launcher: _Launcher, environ: Mapping[str, str]) -> bool:
    """Whether a launcher's variables are set and describe more than one process."""
    if environ.get(launcher.world, "").strip() in ("", "0", "1"):
        return False
    if launcher.name != "srun":
        return True
    if launcher.world == "SLURM_NTASKS" and (
        _whole(environ.get("SLURM_STEP_NUM_TASKS")) is not None or environ.get("SLURM_JOB_NAME") in _SHELLS
    ):
        return False
    # An allocation sets the number of tasks; in its batch script, which is one process, the rank is 0.
    in_step = "SLURM_STEP_ID" in environ or "SLURM_STEPID" in environ
    return in_step or environ.get(launcher.rank, "0").strip() != "0"


def _place(launcher: _Launcher, environ: Mapping[str, str]) -> Place:
    given = {name: environ[name] for name in launcher[1:] if name in environ}
    rank, world = _whole(given.get(launcher.rank)), _whole(given.get(launcher.world))
    local = _whole(given.get(launcher.local_rank, "0"))
    said = ", ".join(f"{name}={value}" for name, value in given.items())
    mend = f"start all of them with torchrun or srun, or unset {' and '.join(given)} to start one process"
    if launcher.rank not in given:
        raise UsageError(f"{said} is about several processes, but {launcher.rank} is not set; {mend}")
    if rank is None or world is None or local is None or not rank < world or local > rank:
        raise UsageError(f"no process has {said}; {mend}")
    if launcher.name in ("torchrun", "mpirun"):
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
        if missing:
            raise UsageError(
                f"{said} is about several processes, but {' and '.join(missing)} do not say where they meet; "
                f"{mend}"
            )
    return Place(rank, world, local, launcher.name)


def in_trainer(devices: int, nodes: int, environ: Mapping[str, str] = os.environ) -> Place:
    """This process in a run on ``devices`` devices of each of ``nodes`` machines.

    Where no launcher started it, a run of several devices starts the others itself.

    Raises:
        UsageError: there are more or fewer processes than the settings say, or this one's rank is unknown.
    """
    place, world = launched(environ), devices * nodes
    settings = f"trainer.devices={devices} and trainer.num_nodes={nodes}"
    if place.launcher:
        if place.world != world:
            raise UsageError(
                f"{place.launcher} started {place.world} processes, but {settings} make {world}; set them so "
                f"that they make {place.world}, or have {place.launcher} start {world}"
            )
        if place.local_rank >= devices:
            raise UsageError(
                f"{place.launcher} started more processes on a machine (this one's number, from 0, is "
                f"{place.local_rank}) than trainer.devices={devices}; have it start {devices} on each"
            )
        return place
    if nodes > 1:
        raise UsageError(
            f"trainer.num_nodes={nodes}, but only this process was started; start one for every device of "
            "every machine with torchrun or srun"
        )
    if world > 1:
        _require_alone(environ, settings, world)
    return Place(0, world, 0)


def _require_alone(environ: Mapping[str, str], settings: str, world: int) -> None:
    """Raise a UsageError if variables hint at processes that another program started or should have
    started."""
    tasks = environ.get("SLURM_NTASKS", "1").strip()
    if tasks not in ("", "0", "1") and environ.get("SLURM_JOB_NAME") not in _SHELLS:
        raise UsageError(
            f"SLURM allocated {tasks} tasks (SLURM_NTASKS={tasks}), but srun did not start this process; put "
            f"srun before the command, or unset SLURM_NTASKS to have the run start {world} processes itself"
        )
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        if environ.get(name, "0").strip() not in ("", "0"):
            raise UsageError(
                f"{name}={environ[name]} says that this is not the first process, but not of how "
                f"many; start all {world} with torchrun or srun, or unset {name} to have a run with "
                f"{settings} start them itself"
            )


def require_one_process(command: str) -> None:
    """Raise a UsageError if a launcher started several processes for a command that needs one."""
    place = launched()
    if place.world > 1:
        raise UsageError(
            f"{command} works in one process, and {place.launcher} started {place.world}; start it by itself"
        )


def meeting_point(launcher: str, environ: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Address and port at which the first process awaits the others.

    Raises:
        UsageError: the address or port is unknown.

    >>> meeting_point("srun", {"SLURM_NODELIST": "gpu[07-09,12],gpu20", "SLURM_JOB_ID": "4000321"})
    ('gpu07', 15321)
    """
    address, port = environ.get("MASTER_ADDR", ""), _whole(environ.get("MASTER_PORT"))
    job = ""
    if launcher == "srun":
        nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST") or "127.0.0.1"
        # "gpu[07-09,12],gpu20" begins with gpu07.
        address = address or re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]
        job = environ.get("SLURM_JOB_ID", "0")
    elif launcher == "jsrun":
        address = address or _first_host(environ.get("LSB_DJOB_RANKFILE", ""))
        job = environ.get("LSB_JOBID", "")
    if port is None and job.isdecimal():
        port = 15000 + int(job[-4:])
    if not address or port is None:
        raise UsageError(
            f"MASTER_ADDR and MASTER_PORT must say where the processes that {launcher} started meet; set "
            "them to the first machine's name and a free port there, or start the processes with torchrun"
        )
    return address, port


def _first_host(rankfile: str) -> str:
    """The first machine that computes; the line above it in LSF's file is the one that launches."""
    try:
        return Path(rankfile).read_text(encoding="utf-8").split()[1]
    except (OSError, UnicodeDecodeError, IndexError):
        return ""


@contextmanager
def together(place: Place) -> Iterator[None]:
    """A block with torch's process group of all processes that a launcher started.

    Raises:
        RunStopped: they do not find each other, or one of them ends.
    """
    import torch.distributed as dist

    if place.world == 1 or dist.is_initialized():
        yield
        return
    address, port = meeting_point(place.launcher)
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    with lost_processes(lambda: f"they meet at {address}:{port}"):
        dist.init_process_group("gloo", rank=place.rank, world_size=place.world)
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def lost_processes(then: Callable[[], str]) -> Iterator[None]:
    """Report the loss of another process in a sentence, which ends with the result of ``then``.

    Raises:
        RunStopped: instead of torch's exception.
    """
    try:
        yield
    except RuntimeError as error:
        if not _of_a_lost_process(error):
            raise
        raise RunStopped(
            f"another process of this command has ended or cannot be reached; see its output; {then()}"
        ) from error


def _of_a_lost_process(error: RuntimeError) -> bool:
    import torch.distributed as dist

    known: Any = getattr(dist, "DistError", ())
    return isinstance(error, known) or re.search(r"\b(gloo|nccl)\b", str(error).lower()) is not None


@contextmanager
def restored_environment() -> Iterator[None]:
    """Restore the environment afterwards: a run writes into it for processes that it starts."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in _WRITTEN:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def _whole(text: str | None) -> int | None:
    """A whole number of decimal digits, else None."""
    text = (text or "").strip()
    return int(text) if text.isdecimal() and len(text) < 10 else None
