"""What every row sees of a split: one pass over the images for each size that is asked of them."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from selfsup.data import Source
from selfsup.errors import UsageError
from selfsup.evaluation.features import (
    Extracted,
    Features,
    Images,
    Job,
    extract_each,
    features_of,
    pooled,
    with_parts,
)
from selfsup.evaluation.judged import Judged
from selfsup.evaluation.registry import Protocol, load_function

POOLED = {"_target_": "selfsup.evaluation.features.pooled"}
SPLITS = ("train", "test")
FRAME = ("_target_", "images", "splits")  # what is read here of a part's configuration


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
    workers: int,
    tell: Callable[[int], None] = lambda images: None,
) -> list[Seen]:
    """Features and parts of a split for each row, in the rows' order."""
    specs = {key(spec): spec for spec in [POOLED, *needed(chosen, split)]}
    seen: list[Seen | None] = [None] * len(rows)
    for size in dict.fromkeys(row.size for row in rows):
        mine = [i for i, row in enumerate(rows) if row.size == size]
        jobs = [_job(rows[i], spec) for i in mine for spec in specs.values()]
        found, skipped = extract_each(jobs, source, size, batch_size, workers, tell)
        for place, i in enumerate(mine):
            own = found[place * len(specs) : (place + 1) * len(specs)]
            features = features_of(own[0], source, skipped)
            features.images = Images(source, size, rows[i].encoder, rows[i].look, workers)
            seen[i] = Seen(features, dict(zip(specs, own, strict=True)))
    return [each for each in seen if each is not None]


def needed(chosen: Iterable[Protocol], split: str) -> list[dict[str, Any]]:
    """The configurations of the parts that protocols need of a split."""
    specs = [spec for protocol in chosen for spec in protocol.needs.values()]
    return [spec for spec in specs if split in spec.get("splits", SPLITS)]


def key(spec: dict[str, Any]) -> str:
    """A part's identity: its configuration, but for the splits it is taken of."""
    return json.dumps({name: value for name, value in spec.items() if name != "splits"}, sort_keys=True)


def check_needs(chosen: Iterable[Protocol]) -> None:
    """Raise a UsageError for a part that cannot be extracted."""
    for protocol in chosen:
        for name, spec in protocol.needs.items():
            where = f"protocols.{protocol.name}.needs.{name}"
            if "_target_" not in spec:
                raise UsageError(f"{where} has no _target_; name a function of selfsup.evaluation.parts")
            load_function(spec["_target_"], f"{where}._target_")
            if spec.get("images") is not None and spec["images"] < 1:
                raise UsageError(f"{where}.images must be at least 1, not {spec['images']}")


def _job(row: Judged, spec: dict[str, Any]) -> Job:
    settings = {name: value for name, value in spec.items() if name not in FRAME}
    function = pooled if spec is POOLED else load_function(spec["_target_"], "_target_")
    return Job(row.look, partial(function, **settings), spec.get("images"))
