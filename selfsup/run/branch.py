"""A branch of a run with a rate without an end: its annealing, in a folder of its own."""

import shutil
from pathlib import Path
from typing import Any

from selfsup.callbacks.checkpoint_files import checkpoint_path, newest_intact, step_of
from selfsup.errors import UsageError
from selfsup.run.resume import repeated


def annealed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the run in the folder ``anneal=``, whose rate now falls to its end.

    The run itself stays as it is and can be continued: a further stage resumes it, not the branch.

    Raises:
        UsageError: there is no such run, it has no checkpoint, or its rate has an end.
    """
    folder = Path(config["anneal"])
    merged = repeated({**config, "from": str(folder), "anneal": None})
    optimizer = merged["method"]["optimizer"]
    if optimizer["schedule"] != "infinite":
        raise UsageError(
            f"anneal= ends a run of schedule=infinite, and '{folder}' has schedule={optimizer['schedule']}, "
            "which ends by itself"
        )
    checkpoint, _ = newest_intact(folder)
    if checkpoint is None:
        raise UsageError(f"'{folder}' has no checkpoint to anneal from; continue it with resume={folder}")
    step = step_of(checkpoint)
    optimizer["anneal_from"] = step
    merged["trainer"]["max_steps"] = step + optimizer["anneal_steps"]
    return {**merged, "from": None, "anneal": str(folder.resolve())}


def copy_checkpoint(branched: Path, folder: Path) -> None:
    """Copy the newest checkpoint of a run into a branch's folder, where the branch is resumed from.

    The encoders of its stages come along, since the branch judges them beside its own, and the lists of
    images that it kept.
    """
    from selfsup.callbacks.stages import stage_folders  # the command checks settings before torch is imported
    from selfsup.encoder import load_encoder, save_encoder

    checkpoint, _ = newest_intact(branched)
    assert checkpoint is not None
    target = checkpoint_path(folder, step_of(checkpoint))
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(checkpoint, target)
    for path in stage_folders(branched):
        save_encoder(load_encoder(path), folder / path.name)
    for path in branched.glob("kept-after-*-epochs.npy"):
        shutil.copyfile(path, folder / path.name)
