"""The files of an encoder's folder, found and read as data, without torch or timm.

A user's folder may be a snapshot in a Hub cache, whose files are links to others beside it. So links to plain
files are followed for the configuration and the weights, which are only ever read and have to fit each other.
The card, whose content may be published, is read through a link only if the configuration is a link into the
same folder, as in a cache. Pipes, devices and folders are never opened.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.backbone_names import without_prefix
from selfsup.errors import UsageError
from selfsup.files import NotPlain, read_json
from selfsup.text import shown

CONFIG, CARD = "config.json", "card.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # timm's files, in the order in which it reads them
LARGEST_JSON = 16 * 2**20  # bytes
HUB = "hf-hub:"
_ON_THE_HUB = ("hf_hub:", "hf:/", "timm/")
HEADS = "heads="  # in the name of a file whose weights do not say how many heads attention has
_OF_AN_ENCODER = ("*.json", *WEIGHTS)  # the files of a repository that are downloaded


class ForeignFile(NamedTuple):
    """Another framework's file, and what its name alone does not say."""

    file: Path
    prefix: str | None = None  # of the encoder's names, where the file has several encoders
    heads: int | None = None  # of attention, where the width does not say


def foreign_file(path: str | Path) -> ForeignFile | None:
    """Another framework's file, from ``FILE``, ``FILE#PREFIX`` or ``FILE#heads=NUMBER``, if it is there.

    Raises:
        UsageError: the file is a part of an encoder's or a run's folder, which says more than the file, or
            what follows ``heads=`` is no whole number above 0.
    """
    name, _, about = str(path).rpartition("#")
    whole = Path(path).is_file()
    file = Path(path if whole else name)
    if not file.is_file():
        return None
    if os.path.lexists(file.parent / CONFIG):
        raise UsageError(f"'{file}' is a part of an encoder; name its folder, '{file.parent}'")
    run = file.absolute().parent.parent  # of Lightning's, which has a config.yaml too, the checkpoint is read
    if os.path.lexists(run / "environment.json") or os.path.lexists(run / "encoder" / CONFIG):
        raise UsageError(f"'{file}' is a part of a run; name the run, '{file.parent.parent}'")
    if whole:
        return ForeignFile(file)
    prefix, _, heads = about.rpartition(HEADS) if HEADS in about else (about, "", "")
    if HEADS in about and not (heads.isdecimal() and int(heads)):
        raise UsageError(f"'{path}': '{heads}' is not a number of heads; write one behind '{HEADS}'")
    return ForeignFile(file, prefix.rstrip(",") or None, int(heads) if heads else None)


def downloaded(repository: str) -> Path:
    """The folder, in the Hub's cache, of a repository's configuration and weights.

    Raises:
        UsageError: it cannot be fetched, or the name is not one of a repository.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(_OF_AN_ENCODER)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"'{HUB}{repository}' cannot be fetched ({shown(reason, 200)}); check the name, or copy the "
            "repository here and name its folder"
        ) from error


def require_files(folder: Path) -> None:
    """Raise a UsageError unless ``folder`` holds a configuration and weights."""
    if not folder.is_dir():
        raise UsageError(f"there is no encoder '{folder}': {_no_folder(str(folder))}")
    if not os.path.lexists(folder / CONFIG):
        raise UsageError(
            f"'{folder}' is not an encoder: it has no {CONFIG}; a run leaves one in runs/<name>/encoder"
        )
    weights_file(folder)


def _no_folder(name: str) -> str:
    if name.startswith("local-dir:"):
        return f"name the folder alone: {name.removeprefix('local-dir:')}"
    if name.startswith(_ON_THE_HUB):
        known = without_prefix(name)
        return f"write timm:{known} if timm has that name, or {HUB}OWNER/{known}"
    return "no such folder; a run leaves one in runs/<name>/encoder"


def weights_file(folder: Path) -> Path:
    """The file of an encoder's weights, or a link to one.

    Raises:
        UsageError: there is none, or it is not a plain file.
    """
    for name in WEIGHTS:
        if os.path.lexists(folder / name):
            if not (folder / name).is_file():
                raise UsageError(f"'{folder / name}' is not a file; copy the encoder's whole folder")
            return folder / name
    raise UsageError(
        f"'{folder}' is not an encoder: it has no {' or '.join(WEIGHTS)}; copy the encoder's whole folder"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        UsageError: it is missing, not a plain file, damaged, or too large.
    """
    require_files(folder)
    return _read(folder / CONFIG, Path(os.path.realpath(folder / CONFIG)))


def read_card(folder: Path) -> dict[str, Any]:
    """The content of ``card.json``, empty if there is none.

    Raises:
        UsageError: it is not a plain file, damaged, or too large.
    """
    path = folder / CARD
    if not os.path.lexists(path):
        return {}
    real, config = Path(os.path.realpath(path)), Path(os.path.realpath(folder / CONFIG))
    in_a_cache = (folder / CONFIG).is_symlink() and real.parent == config.parent
    return _read(path, real if in_a_cache else path)


def _read(path: Path, file: Path) -> dict[str, Any]:
    try:
        return read_json(file, LARGEST_JSON)
    except NotPlain as error:
        raise UsageError(f"{error}; copy the encoder's whole folder") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"'{path}' is damaged ({error}); copy it again") from error
