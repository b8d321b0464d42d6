"""A run's checkpoints on the disk: their names, which of them are intact, and reading one.

They are torch's zip files. Each record has a CRC-32, so that truncated or altered files are detected without
torch and without unpickling.
"""

import errno
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError

FOLDER, _PATTERN = "checkpoints", "step-*.ckpt"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where a run keeps the checkpoint of an optimizer step."""
    return folder / FOLDER / f"step-{step:09d}.ckpt"


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint was written after."""
    return int(checkpoint.stem.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints, the oldest first."""
    found = (path for path in (folder / FOLDER).glob(_PATTERN) if path.stem[5:].isdigit())
    return sorted(found, key=step_of)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's file, or None if every byte that counts is as it was written."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            records = archive.infolist()
            stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
            # torch neither compresses records nor lets them overlap: a file that does is built to take long.
            if not stored or sum(record.file_size for record in records) > checkpoint.stat().st_size:
                return "its records are larger than the file"
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        return str(error) or type(error).__name__
    return broken and f"its record {broken} is not what was written"


def newest_intact(folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint of a run that is intact, and the newer ones with what is wrong with each."""
    damaged: list[tuple[Path, str]] = []
    for checkpoint in reversed(checkpoints(folder)):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint, damaged
        damaged.append((checkpoint, reason))
    return None, damaged


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU; it can hold tensors and plain types, and runs no code.

    Raises:
        UsageError: it is damaged, or holds something else.
    """
    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"'{checkpoint}' is not a checkpoint of ours and was not loaded ({reason})"
        ) from error
    if not isinstance(content, dict) or not {"loops", "callbacks", "state_dict"} <= content.keys():
        raise UsageError(f"'{checkpoint}' is not a checkpoint of a training run")
    return content


def last_good(folder: Path) -> str:
    """How to continue a run that has to stop, as the end of a sentence."""
    found = checkpoints(folder)
    if not found:
        return "there is no checkpoint yet to continue from"
    return f"the last good checkpoint is {found[-1]}, continue with resume={folder}"


def gone(folder: Path) -> str:
    """The message about a run whose folder was removed."""
    return (
        f"'{folder}' is gone: it or its config.yaml was deleted or renamed during the run; put it "
        "back, or give its new path with resume="
    )


def trouble(error: OSError, folder: Path, what: str = "") -> str:
    """The message about a disk error in a run, and how to continue.

    Args:
        folder: the run's.
        what: what could not be written, if known.
    """
    if not os.path.lexists(folder / "config.yaml"):
        return gone(folder)
    reason = error.strerror or str(error)
    refused = f"{what} could not be written ({reason})" if what else f"{reason}: '{error.filename or folder}'"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        refused, remedy = refused if what else f"the disk is full ({error})", "make room"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        remedy = f"make '{folder}' writable again"
    else:
        remedy = "check the disk"
    return f"{refused}; {remedy}, {last_good(folder)}"
