"""Feature extraction, one pass over a split for each preprocessing of its images."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from selfsup.data import Source
from selfsup.data.source import in_memory
from selfsup.data.workers import worker_count
from selfsup.errors import UsageError
from selfsup.evaluation.features.cache import Cache, Skipped, entry_name, identity, keep, load
from selfsup.evaluation.features.extract import (
    Extracted,
    Features,
    Images,
    Job,
    extract_each,
    features_of,
    pooled,
    with_parts,
)
from selfsup.evaluation.features.processes import gathered, processes
from selfsup.evaluation.registry import Protocol, load_function
from selfsup.evaluation.rows import Judged

POOLED = {"_target_": "selfsup.evaluation.features.extract.pooled"}
SPLITS = ("train", "test")
FRAME = ("_target_", "images", "splits")  # keys of a part's configuration that are read here


class Seen(NamedTuple):
    """A row's features of a split, and the parts by their configuration as text."""

    features: Features
    parts: dict[str, Extracted]

    def of(self, protocol: Protocol) -> Features:
        """The features as a protocol sees them."""
        needs = {name: key(spec) for name, spec in protocol.needs.items()}
        return with_parts(self.features, {n: self.parts[k] for n, k in needs.items() if k in self.parts})


def see(
    rows: Sequence[Judged],
    chosen: Iterable[Protocol],
    source: Source,
    split: str,
    batch_size: int,
    data_config: Mapping[str, Any],
    tell: Callable[[int], None] = lambda images: None,
    cache: Cache | None = None,
) -> list[Seen]:
    """Features and parts of a split for each row, in the rows' order; from the cache if they are in it.

    ``workers`` and ``in_memory`` of the data's configuration are read.
    """
    specs = {key(spec): spec for spec in [POOLED, *needed(chosen, split)]}
    images = None if cache is None else identity(source)
    ready = source
    seen: list[Seen | None] = [None] * len(rows)
    for to in dict.fromkeys(row.fitting for row in rows):
        mine = [i for i, row in enumerate(rows) if row.fitting == to]
        wanted = [(rows[i], spec) for i in mine for spec in specs.values()]
        names = [_entry(*each, images, source) for each in wanted]
        kept = _kept(cache, names)
        missing = [place for place, entry in enumerate(kept) if entry is None]
        if missing:
            ready = _decoded(source) if data_config.get("in_memory") else source
            workers = worker_count(data_config.get("workers", 0), ready)
            jobs = [_job(*wanted[place]) for place in missing]
            found, skipped = extract_each(jobs, ready, to, batch_size, workers, tell)
            for place, extracted in zip(missing, found, strict=True):
                kept[place] = extracted, skipped
                _keep(cache, names[place], extracted, skipped)
        else:
            tell(len(source))
        whole = [entry for entry in kept if entry is not None]
        workers = worker_count(data_config.get("workers", 0), ready)
        for place, i in enumerate(mine):
            own = whole[place * len(specs) : (place + 1) * len(specs)]
            features = features_of(own[0][0], source, own[0][1])
            features.images = Images(ready, to, rows[i].encoder, rows[i].frozen, workers)
            seen[i] = Seen(features, {name: each for name, (each, _) in zip(specs, own, strict=True)})
    return [each for each in seen if each is not None]


def _decoded(source: Source) -> Source:
    """The source in memory, if it is small and every image is readable: an unreadable one would shift the
    others."""
    decoded = in_memory(source)
    return decoded if len(decoded) == len(source) else source


def _entry(row: Judged, spec: dict[str, Any], images: str | None, source: Source) -> str | None:
    """The name of an entry of the cache; None without a cache, and for pixels in memory, which cost
    nothing."""
    if images is None or (row.encoder is None and source.images is not None):
        return None
    return entry_name(
        {
            "encoder": row.fingerprint,
            "recipe": None if row.encoder is None else row.encoder.recipe,
            "timm": version("timm"),  # may change the meaning of a recipe
            "images": images,
            "preprocessing": row.preprocessing(),
            "precision": str(row.frozen.dtype),
            "part": key(spec),
        }
    )


def _kept(cache: Cache | None, names: Sequence[str | None]) -> list[tuple[Extracted, Skipped] | None]:
    """The cached entries; with several processes, those that all of them have found."""
    if cache is None:
        return [None] * len(names)
    kept = [None if name is None else load(cache, name) for name in names]
    absent = set(gathered([place for place, entry in enumerate(kept) if entry is None]))
    return [None if place in absent else entry for place, entry in enumerate(kept)]


def _keep(cache: Cache | None, name: str | None, found: Extracted, skipped: Skipped) -> None:
    if cache is not None and name is not None and processes()[0] == 0:
        keep(cache, name, found, skipped)


def needed(chosen: Iterable[Protocol], split: str) -> list[dict[str, Any]]:
    """The configurations of the parts that protocols need of a split."""
    specs = [spec for protocol in chosen for spec in protocol.needs.values()]
    return [spec for spec in specs if split in spec.get("splits", SPLITS)]


def key(spec: dict[str, Any]) -> str:
    """A part's identity: its configuration without its splits."""
    return json.dumps({name: value for name, value in spec.items() if name != "splits"}, sort_keys=True)


def check_needs(chosen: Iterable[Protocol]) -> None:
    """Raise a UsageError for a part that cannot be extracted."""
    for protocol in chosen:
        for name, spec in protocol.needs.items():
            where = f"protocols.{protocol.name}.needs.{name}"
            if "_target_" not in spec:
                raise UsageError(
                    f"{where} has no _target_; name a function of selfsup.evaluation.features.parts"
                )
            load_function(spec["_target_"], f"{where}._target_")
            if spec.get("images") is not None and spec["images"] < 1:
                raise UsageError(f"{where}.images must be at least 1, not {spec['images']}")


def _job(row: Judged, spec: dict[str, Any]) -> Job:
    settings = {name: value for name, value in spec.items() if name not in FRAME}
    function = pooled if spec is POOLED else load_function(spec["_target_"], "_target_")
    return Job(row.frozen, partial(function, **settings), spec.get("images"))
