"""Where the images of tar shards begin: found once, kept in a cache."""

import hashlib
import json
import os
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.readers.labels import class_order
from selfsup.data.readers.parallel import few_values
from selfsup.data.readers.tar_samples import Samples, is_image_kind, label_of
from selfsup.data.readers.tree import SYSTEM
from selfsup.data.workers import begin_worker
from selfsup.lock import Lock

AT_ONCE = 64  # shards above which several processes look for images
_FORM = "3"  # of the cached files


class ShardIndex(NamedTuple):
    """The images of S shards, N in all.

    Attributes:
        starts: int64 (N,), where each image's header begins in its shard.
        counts: int64 (S,), images of each shard.
        labels: int32 (N,), places in ``classes``, -1 for an image without a label; empty if none has one.
        classes: the labels as text, each once.
        problems: (shard, problem) of the shards that were not read to their end.
        left_out: members that may be images and are not used, by the reason.
    """

    starts: np.ndarray
    counts: np.ndarray
    labels: np.ndarray
    classes: list[str]
    problems: list[tuple[str, str]]
    left_out: dict[str, int]


def index_shards(paths: Sequence[str], label_key: str, cache: Path | None = None) -> ShardIndex:
    """The index of some shards, from the cache if none of them changed since it was made.

    A sample is the members whose names agree up to the first dot of the last part, as WebDataset has it,
    anywhere in the shard; its image is the member with an image's ending, of several one
    (`readers.tar_samples`), its label the text of ``.cls``, or ``label_key`` of ``.json``. Members that
    are not plain files, and those with hidden names, are skipped.

    Args:
        cache: a folder, made if missing; None is ``selfsup/shards`` in the user's cache folder.
    """
    cache = _user_cache() if cache is None else cache
    facts = [(os.path.abspath(path), _version(path)) for path in paths]
    digest = hashlib.sha256(json.dumps([_FORM, label_key, facts]).encode("utf-8", "surrogateescape"))
    stem = cache / digest.hexdigest()[:32]
    with ExitStack() as stack:
        if not stem.with_suffix(".npz").is_file():
            _lock(stem, stack)
        if not stem.with_suffix(".npz").is_file():
            index = _joined(paths, list(_each(paths, label_key)))
            try:
                _save(index, stem)
            except OSError as error:
                warnings.warn(f"the index of the shards is not kept for the next run: {error}", stacklevel=2)
                return index
    return _load(stem)


class _Shard(NamedTuple):
    starts: np.ndarray
    labels: np.ndarray  # places in classes, or -1
    classes: list[str]
    problem: str | None
    left_out: dict[str, int]


def _index_shard(path: str, label_key: str) -> _Shard:
    samples = Samples()
    problem = None
    starts: list[int] = []
    labels: list[str | None] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in _members(tar, os.path.getsize(path)):
                if isinstance(info, str):
                    problem = info
                    break
                _add(samples, tar, info, label_key)
            starts, labels = samples.chosen(lambda offset: _is_mask(tar, offset))
    except (tarfile.TarError, OSError) as error:
        problem = problem or f"it cannot be read as a tar file ({error})"
    if problem is None and not starts:
        problem = "it holds no images"
    classes = list(dict.fromkeys(label for label in labels if label is not None))
    number = {label: place for place, label in enumerate(classes)}
    codes = [number.get(label or "", -1) for label in labels]
    return _Shard(np.array(starts, np.int64), np.array(codes, np.int32), classes, problem, samples.left_out)


def _add(samples: Samples, tar: tarfile.TarFile, info: tarfile.TarInfo, label_key: str) -> None:
    """Note a member if it is a plain file whose name is not hidden."""
    folder, _, base = info.name.rpartition("/")
    stem, _, kind = base.partition(".")
    if not info.isreg() or not stem or any(part.lower() in SYSTEM for part in folder.split("/")):
        return
    kind = kind.lower()
    ending = kind.rpartition(".")[2]
    if is_image_kind(kind):
        samples.add_image((folder, stem), kind, info.offset)
    elif ending in ("cls", "json"):
        samples.add_label(
            (folder, stem), label_of(_content(tar, info), ending == "cls", label_key), ending == "cls"
        )
    else:
        samples.add_other(base)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def _is_mask(tar: tarfile.TarFile, offset: int) -> bool:
    """Whether the image whose header begins there shows a few values only."""
    assert tar.fileobj is not None
    tar.fileobj.seek(offset)
    info = tarfile.TarInfo.fromtarfile(tar)
    tar.fileobj.seek(info.offset_data)
    try:
        return few_values(Picture(tar.fileobj.read(info.size), info.name).pixels())
    except UnreadableImage:
        return False


def _members(tar: tarfile.TarFile, size: int) -> Iterator[tarfile.TarInfo | str]:
    """The whole members, then a sentence if the shard is damaged after them."""
    whole = 0
    assert tar.fileobj is not None
    try:
        while (info := tar.next()) is not None:
            if info.offset_data + info.size > size:
                yield f"it ends early: member {info.name!r} is cut off, and what followed it is lost"
                return
            whole += 1
            yield info
    except tarfile.ReadError as error:
        yield f"it ends early, after {whole} members ({error})"
        return
    # tarfile treats an invalid header as the end.
    tar.fileobj.seek(tar.offset)
    rest = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE:
        yield f"it has no end mark, and may have been cut off after {whole} members"
    elif rest.strip(b"\0"):
        yield f"it is damaged at byte {tar.offset}, after {whole} members, and what follows is lost"


def _each(paths: Sequence[str], label_key: str) -> Iterable[_Shard]:
    processes = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, len(paths))
    keys = [label_key] * len(paths)
    if len(paths) < AT_ONCE or processes < 2:
        return map(_index_shard, paths, keys)
    with ProcessPoolExecutor(processes, get_context("fork"), begin_worker) as pool:
        try:
            return list(pool.map(_index_shard, paths, keys, chunksize=4))
        except BaseException:  # Ctrl-C among others: the shards that no process has begun are left out
            pool.shutdown(cancel_futures=True)
            raise


def _joined(paths: Sequence[str], shards: Sequence[_Shard]) -> ShardIndex:
    classes = class_order(label for shard in shards for label in shard.classes)
    left_out: dict[str, int] = {}
    for shard in shards:
        for reason, count in shard.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    number = {label: place for place, label in enumerate(classes)}
    # A shard's own places and, last of them, -1.
    places = [np.array([*(number[label] for label in shard.classes), -1], np.int32) for shard in shards]
    labels = [own[shard.labels] for own, shard in zip(places, shards, strict=True)] if classes else []
    return ShardIndex(
        np.concatenate([shard.starts for shard in shards]),
        np.array([len(shard.starts) for shard in shards]),
        np.concatenate([np.zeros(0, np.int32), *labels]),
        classes,
        [(path, shard.problem) for path, shard in zip(paths, shards, strict=True) if shard.problem],
        left_out,
    )


def _lock(stem: Path, stack: ExitStack) -> None:
    """Let one process of several do the work while the others wait; if that is impossible, all do it."""
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(Lock(stem.with_suffix(".lock")))
    except (ImportError, OSError):
        return


def _save(index: ShardIndex, stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    own = stem.with_suffix(f".{os.getpid()}.tmp")
    with own.open("wb") as file:
        np.save(file, index.starts)
    own.replace(stem.with_suffix(".npy"))
    rest = {"classes": index.classes, "problems": index.problems, "left_out": index.left_out}
    with own.open("wb") as file:
        np.savez(file, counts=index.counts, labels=index.labels, rest=np.array(json.dumps(rest)))
    own.replace(stem.with_suffix(".npz"))  # last: where this file is, the other is whole


def _load(stem: Path) -> ShardIndex:
    starts = np.load(stem.with_suffix(".npy"), mmap_mode="r")
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as kept:
        rest = json.loads(str(kept["rest"]))
        problems = [(path, problem) for path, problem in rest["problems"]]
        return ShardIndex(starts, kept["counts"], kept["labels"], rest["classes"], problems, rest["left_out"])


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfsup" / "shards"


def _version(path: str) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns
