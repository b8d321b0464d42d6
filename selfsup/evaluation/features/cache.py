"""Extracted features on disk, so that a second evaluation of the same encoder starts at once.

An entry is a safetensors file, named by a hash of everything its numbers depend on: the encoder's weights and
recipe, the images, their preprocessing, and what is extracted. It is written under another name and then
renamed, so that programs that evaluate at the same time never see half of one; and memory-mapped, so that
only the parts in use are loaded. The least recently used entries are removed once all of them take more than
a limit.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfsup.data import ImageFiles, Source
from selfsup.data.readers.reading import USUAL
from selfsup.data.source import Page
from selfsup.evaluation.features.extract import Extracted
from selfsup.text import shown

FORMAT = 2  # part of every name: increase it whenever extraction gives other numbers
DAY = 86400.0  # seconds
Skipped = list[tuple[str, str]]


class Cache(NamedTuple):
    """Where entries are.

    Attributes:
        folder: created when first written to.
        gigabytes: the limit of all entries together.
    """

    folder: Path
    gigabytes: float


def default_folder() -> Path | None:
    """``$SELFSUP_CACHE``, or ``selfsup/features`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; None if none is."""
    if own := os.environ.get("SELFSUP_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfsup" / "features"
    except RuntimeError:  # a container whose user has no home
        return None


def identity(source: Source) -> str:
    """A hash of the images, their order and range: of pixels or encoded bytes, of files' path, size and time.

    Labels are not part of it, since features do not depend on them.
    """
    digest = hashlib.sha256()
    if source.range is not None:
        digest.update(repr(source.range).encode())
    if isinstance(source, ImageFiles) and source.reading != USUAL:
        digest.update(source.reading.called().encode())
    if source.images is not None:
        digest.update(repr(tuple(source.images.shape)).encode())
        digest.update(source.images.contiguous().numpy().data)
        return digest.hexdigest()
    for i in range(len(source)):
        digest.update(_trace(source, i))
    return digest.hexdigest()


def _trace(source: Source, i: int) -> bytes:
    """The identity of an image and of its current state, of fixed length."""
    assert source.images is None
    try:
        file, page = source.files[i], ""
        if isinstance(file, Page):
            page = f" page {file.number}"
            file = file.file
        if isinstance(file, Tensor):
            content = repr(tuple(file.shape)).encode() + file.contiguous().numpy().tobytes()
        elif isinstance(file, bytes):
            content = file + page.encode()
        else:
            about = os.stat(file)
            content = os.fsencode(f"{os.path.abspath(file)} {about.st_size} {about.st_mtime_ns}{page}")
    except OSError as error:  # it will be skipped, and counts as unchanged while it cannot be read
        content = os.fsencode(f"{type(error).__name__} {source.name(i)}")
    return hashlib.sha256(content).digest()


def entry_name(parts: Mapping[str, Any]) -> str:
    """The name of the entry for ``parts``, of plain JSON types."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(cache: Cache, name: str) -> tuple[Extracted, Skipped] | None:
    """The entry, memory-mapped, or None. Changing its tensors changes no file."""
    path = _path(cache, name)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            x, samples = file.get_tensor("x"), file.get_tensor("samples")
        found = Extracted(_floating(x), samples, about["reason"])
        skipped = [(name, reason) for name, reason in about["skipped"]]
    # Missing, cut off by a full disk, or unreadable: treated as missing, and written again.
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a read-only cache is still a cache
        os.utime(path)  # the time of its last use
    return found, skipped


def keep(cache: Cache, name: str, found: Extracted, skipped: Skipped) -> None:
    """:func:`save`, whose failure is logged once and does not stop the work."""
    try:
        save(cache, name, found, skipped)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        warnings.warn(
            f"features cannot be stored in '{shown(cache.folder)}' ({shown(reason)}), so the next evaluation "
            "extracts them again; name another folder with cache=, or cache=null for none",
            stacklevel=2,
        )


def save(cache: Cache, name: str, found: Extracted, skipped: Skipped) -> None:
    """Write an entry, and remove old ones beyond the limit.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    cache.folder.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"reason": found.reason, "skipped": skipped})
    tensors = {"x": _small(found.x), "samples": found.samples}
    with tempfile.NamedTemporaryFile(dir=cache.folder, prefix=name, suffix=".part", delete=False) as aside:
        part = Path(aside.name)
    try:
        save_file({key: value.contiguous() for key, value in tensors.items()}, part, {"about": about})
        part.replace(_path(cache, name))
    finally:
        part.unlink(missing_ok=True)
    trim(cache)


def trim(cache: Cache) -> None:
    """Remove the least recently used entries, until the rest are within the limit.

    Also remove partial files, a day old or more, of programs that were killed.
    """
    for used, _, part in _by_age(cache.folder.glob("*.part")):
        if time.time() - used > DAY:
            part.unlink(missing_ok=True)
    entries = _by_age(cache.folder.glob("*.safetensors"))
    total = sum(size for _, size, _ in entries)
    for _, size, entry in entries:
        if total <= cache.gigabytes * 1e9:
            break
        entry.unlink(missing_ok=True)
        total -= size


def _by_age(paths: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """(time of last use, bytes, path), the oldest first, of the files that are still there."""
    found = []
    for path in paths:
        try:
            about = path.stat()
        except FileNotFoundError:  # removed by another program
            continue
        found.append((about.st_mtime, about.st_size, path))
    return sorted(found)


def _path(cache: Cache, name: str) -> Path:
    return cache.folder / f"{name}.safetensors"


def _floating(x: Tensor) -> Tensor:
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def _small(x: Tensor) -> Tensor:
    """Pixels, which are whole numbers of 255ths, as bytes: a quarter of the space and the same numbers."""
    if not x.numel() or not (x.amin() >= 0 and x.amax() <= 1):
        return x
    whole = x.mul(255).round_()
    return whole.to(torch.uint8) if torch.equal(whole / 255, x) else x
