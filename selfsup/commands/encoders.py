"""The setting ``encoder`` of the commands that take one."""

from pathlib import Path

from selfsup.backbone_names import require_timm_name, timm_names
from selfsup.encoder.files import CONFIG, WEIGHTS, foreign_file, require_files
from selfsup.errors import UsageError
from selfsup.processes import launched


def find_encoder(name: str) -> str:
    """The encoder's folder or file, or ``timm:NAME``; for a run's folder the encoder in it, which is printed.

    Raises:
        UsageError: there is no such encoder; the sentence suggests one.
    """
    if name.startswith("timm:"):
        require_timm_name(name.removeprefix("timm:"))
        return name
    folder = Path(name).expanduser()
    if _is_encoder(folder):
        return str(folder)
    if _is_encoder(folder / "encoder"):
        if launched().rank == 0:
            print(f"'{name}' is a run; taking the encoder it left in {folder / 'encoder'}")
        return str(folder / "encoder")
    if foreign_file(folder):
        return str(folder)
    if meant := _meant(name, folder):
        raise UsageError(meant)
    require_files(folder)
    return str(folder)


def _is_encoder(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in WEIGHTS)


def _meant(name: str, folder: Path) -> str | None:
    """A suggestion, if it neither is an encoder nor looks like a damaged one."""
    if not folder.is_dir():
        if name.partition(".")[0] in timm_names():
            return f"there is no folder '{name}'; timm's model of that name is encoder=timm:{name}"
        return None
    if (folder / "config.yaml").is_file():
        best = folder / "encoder-best"
        instead = f"take encoder={best}" if _is_encoder(best) else f"finish it with train resume={name}"
        return f"'{name}' is a run that has left no encoder yet; {instead}"
    runs = sorted(each for each in folder.iterdir() if _is_encoder(each / "encoder"))
    if runs:
        return f"'{name}' holds runs; name one of them, such as encoder={runs[-1] / 'encoder'}"
    return None
