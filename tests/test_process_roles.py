"""Which process is which: what launchers say, what the trainer is told, and what is refused."""

import os
from typing import Any

import pytest

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.processes import Place, in_trainer, launched, meeting_point, require_one_process
from selfsup.run.trainer import check_trainer

MEET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none", **MEET}
SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"}
SRUN |= {"SLURM_JOB_ID": "100", "SLURM_NODEID": "1", "SLURM_NODELIST": "a[1-2]"}
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "SLURM_NTASKS_PER_NODE": "2"}
MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0", **MEET}
OURS = {"SELFSUP_STARTED_BY": "7", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", **MEET}

FOUND: dict[str, tuple[dict[str, str], int, int, Place]] = {
    "nothing": ({}, 1, 1, Place()),
    "nothing, and two devices": ({}, 2, 1, Place(0, 2)),
    "a shell within an allocation": ({"SLURM_PROCID": "3"}, 1, 1, Place()),
    "a shell that srun opened": ({**SRUN, "SLURM_JOB_NAME": "bash", "SLURM_STEP_ID": "0"}, 1, 1, Place()),
    "an interactive step": ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, 1, 1, Place()),
    "a shell, and two devices": ({**BATCH, "SLURM_JOB_NAME": "interactive"}, 2, 1, Place(0, 2)),
    "a batch script, and one device": (BATCH, 1, 1, Place()),
    "a batch script of one task, and two devices": ({**BATCH, "SLURM_NTASKS": "1"}, 2, 1, Place(0, 2)),
    "a rank without a world": ({"RANK": "5"}, 1, 1, Place()),
    "a rank in a world of one": ({"RANK": "5", "WORLD_SIZE": "1"}, 1, 1, Place()),
    "a local rank alone": ({"LOCAL_RANK": "1"}, 1, 1, Place()),
    "what Lightning leaves behind": ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, 2, 1, Place(0, 2)),
    "torchrun": (TORCHRUN, 2, 1, Place(1, 2, 1, "torchrun")),
    "torchrun within an allocation": ({**SRUN, **TORCHRUN}, 2, 1, Place(1, 2, 1, "torchrun")),
    "Kubeflow": ({"RANK": "1", "WORLD_SIZE": "2", **MEET}, 1, 2, Place(1, 2, 0, "torchrun")),
    "srun": (SRUN, 2, 2, Place(3, 4, 1, "srun")),
    "srun in an allocation by hand": (
        {**SRUN, "SLURM_JOB_NAME": "interactive", "SLURM_STEP_NUM_TASKS": "4"},
        2,
        2,
        Place(3, 4, 1, "srun"),
    ),
    "srun for a program of MPI": ({**SRUN, "PMI_RANK": "3", "PMI_SIZE": "4"}, 2, 2, Place(3, 4, 1, "srun")),
    "mpirun": (MPI, 1, 2, Place(1, 2, 0, "mpirun")),
    "mpirun in a batch script": ({**BATCH, **MPI}, 1, 2, Place(1, 2, 0, "mpirun")),
    "started by the run": (OURS, 2, 1, Place(1, 2, 1, "trainer")),
}

REFUSED: dict[str, tuple[dict[str, str], int, int, str]] = {
    "tasks without srun": (BATCH, 2, 1, "SLURM allocated 2 tasks .* put srun before the command"),
    "a rank above its world": ({**TORCHRUN, "RANK": "2"}, 2, 1, "no process has RANK=2"),
    "no number": ({**TORCHRUN, "RANK": "x"}, 2, 1, "no process has RANK=x"),
    "a number of 5,000 digits": ({**TORCHRUN, "RANK": "9" * 5000}, 2, 1, "no process has"),
    "a world without a rank": ({"WORLD_SIZE": "2", **MEET}, 2, 1, "but RANK is not set"),
    "nowhere to meet": ({"WORLD_SIZE": "2", "RANK": "1"}, 2, 1, "MASTER_ADDR and MASTER_PORT do not say"),
    "mpirun that does not say where": (
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
        2,
        1,
        "MASTER_ADDR and MASTER_PORT do not say",
    ),
    "fewer devices than processes": (TORCHRUN, 1, 1, "torchrun started 2 processes, but .* make 1"),
    "more devices than processes": (SRUN, 8, 1, "srun started 4 processes, but .* make 8"),
    "more on a machine than devices": ({**SRUN, "SLURM_LOCALID": "3"}, 2, 2, "have it start 2 on each"),
    "a local rank alone, and two devices": ({"LOCAL_RANK": "1"}, 2, 1, "LOCAL_RANK=1 says"),
    "a rank alone, and two devices": ({"RANK": "1"}, 2, 1, "RANK=1 says"),
    "another process of an allocation": ({"SLURM_PROCID": "1"}, 2, 1, "SLURM_PROCID=1 says"),
    "two machines by hand": ({"NODE_RANK": "1", **MEET}, 2, 2, "only this process was started"),
    "a variable of ours": ({"SELFSUP_STARTED_BY": "7"}, 2, 1, "unset it"),
}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(
            ("SLURM", "RANK", "WORLD", "LOCAL_RANK", "NODE_RANK", "MASTER", "OMPI", "PMI", "SELFSUP_ST")
        ):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("name", FOUND)
def test_the_trainer_is_told_what_everything_else_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, devices, nodes, place = FOUND[name]
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert in_trainer(devices, nodes) == place
    settings = ["trainer.accelerator=cpu", f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"]
    trainer: Any = check_trainer(load_config("train", settings), devices)
    assert (trainer.global_rank, trainer.world_size) == (place.rank, place.world)
    assert trainer.is_global_zero == (place.rank == 0)
    assert trainer.local_rank == place.local_rank


@pytest.mark.parametrize("name", REFUSED)
def test_what_disagrees_is_a_sentence(name: str) -> None:
    given, devices, nodes, words = REFUSED[name]
    with pytest.raises(UsageError, match=words):
        in_trainer(devices, nodes, given)


def test_where_the_processes_of_srun_meet() -> None:
    for nodes, first in {"a": "a", "a,b": "a", "gpu[3-5,7],x": "gpu3", "r[1-2]n[08-09]": "r1n08"}.items():
        assert meeting_point("srun", {"SLURM_NODELIST": nodes, "SLURM_JOB_ID": "12345"}) == (first, 17345)
    assert meeting_point("srun", {"SLURM_JOB_ID": "1", **MEET}) == ("127.0.0.1", 29511)


def test_what_one_process_does_is_refused_to_several(monkeypatch: pytest.MonkeyPatch) -> None:
    require_one_process("search")
    for key, value in TORCHRUN.items():
        monkeypatch.setenv(key, value)
    assert launched().rank == 1
    with pytest.raises(UsageError, match="search works in one process, and torchrun started 2"):
        require_one_process("search")
