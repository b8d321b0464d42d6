"""One pass over the images of a source: what each is, its identity, and thumbnails to compare it by."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfsup.curation.alignment import SIDE
from selfsup.data import Source, UnreadableImage
from selfsup.data.readers.channels import luma
from selfsup.data.source import Page
from selfsup.data.workers import begin_worker, worker_count
from selfsup.evaluation.features.extract import evaluating
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.images import Fitting, fit, fitting

SMALL = 16  # pixels a side of the thumbnails in colour
BATCH = 64  # images that a worker sends together
# The first bytes of a file, by format; of others the ending counts.
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)


class Seen(NamedTuple):
    """What one image is; what needs decoding is None of an unreadable one.

    Attributes:
        bytes: of the file, None where there is none.
        low, high, mean, std: of its values, 0 to 255 as they are learned from.
        digest, pixels: of the encoded bytes, and of the decoded values and their shape.
    """

    name: str
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    low: int | None = None
    high: int | None = None
    mean: float | None = None
    std: float | None = None
    digest: str | None = None
    pixels: str | None = None
    format: str = ""
    reason: str | None = None


@dataclass
class Survey:
    """What one pass found.

    Attributes:
        seen: of every image, in the source's order.
        rows: int64 ``(N,)``, the positions of the readable ones.
        small: uint8 ``(N, C, 16, 16)``; an image's proportions are not kept.
        grey: uint8 ``(N, 32, 32)``, likewise.
        x: an encoder's features ``(N, D)``; None without one.
    """

    seen: list[Seen] = field(default_factory=list)
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    small: Tensor = field(default_factory=lambda: torch.zeros(0, 3, SMALL, SMALL, dtype=torch.uint8))
    grey: Tensor = field(default_factory=lambda: torch.zeros(0, SIDE, SIDE, dtype=torch.uint8))
    x: Tensor | None = None


def survey(
    source: Source,
    encoder: Any = None,
    *,
    batch_size: int = 256,
    workers: int | str = 0,
    precision: str = "float32",
    progress: Callable[[int], None] = lambda images: None,
) -> Survey:
    """Read every image of a source once.

    Args:
        encoder: on its device; None for no features.
        batch_size, precision: of encoding, as for :func:`selfsup.evaluation.extract`.
        workers: as ``data.workers``.
        progress: called with the number of images of every batch done.
    """
    found, x = Survey(), []
    smalls, greys, rows = [], [], []
    count = worker_count(workers, source)
    loader: DataLoader[Any] = DataLoader(
        Looks(source, None if encoder is None else fitting(encoder)),
        batch_size=BATCH if encoder is None else batch_size,
        num_workers=count,
        collate_fn=_together,
        worker_init_fn=begin_worker,
    )
    with evaluating(*([] if encoder is None else [encoder])):
        frozen = None if encoder is None else FrozenEncoder(encoder, encoder.mean, encoder.std, precision)
        for seen, small, grey, fitted in loader:
            rows += [len(found.seen) + i for i, each in enumerate(seen) if each.reason is None]
            found.seen += seen
            if len(small):
                smalls.append(torch.from_numpy(small))
                greys.append(torch.from_numpy(grey))
                if frozen is not None:
                    x.append(frozen(torch.from_numpy(fitted)))
            progress(len(seen))
    if rows:
        found.rows = torch.tensor(rows)
        found.small, found.grey = torch.cat(smalls), torch.cat(greys)
        found.x = torch.cat(x) if x else None
    return found


def concatenated(surveys: Sequence[Survey]) -> Survey:
    """One survey of several sources' images, numbered through."""
    starts = itertools.accumulate((len(each.seen) for each in surveys), initial=0)
    rows = torch.cat([each.rows + start for each, start in zip(surveys, starts, strict=False)])
    there = [each for each in surveys if len(each.rows)] or surveys[:1]
    features = [each.x for each in there if each.x is not None]
    return Survey(
        [one for each in surveys for one in each.seen],
        rows,
        torch.cat([each.small for each in there]),
        torch.cat([each.grey for each in there]),
        torch.cat(features) if features else None,
    )


class Looks(Dataset[Any]):
    """Image i as (`Seen`, small, grey, fitted); the last three None if it cannot be read."""

    def __init__(self, source: Source, to: Fitting | None):
        self.source, self.to = source, to

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[Seen, Tensor | None, Tensor | None, Tensor | None]:
        encoded = _encoded(self.source, i)
        about: dict[str, Any] = {"name": self.source.name(i)}
        if encoded is not None:
            about |= {"bytes": len(encoded), "digest": _digest(encoded)}
            about["format"] = _format(encoded, about["name"])
        try:
            pixels = self.source[i]
        except UnreadableImage as error:
            return Seen(**about, reason=error.reason), None, None, None
        values = pixels.contiguous().numpy()
        channels, height, width = values.shape
        seen = Seen(
            **about,
            width=width,
            height=height,
            channels=channels,
            low=int(values.min()),
            high=int(values.max()),
            mean=float(values.mean()),
            std=float(values.std()),
            pixels=_digest(values.tobytes(), str(values.shape).encode()),
        )
        fitted = None if self.to is None else fit(pixels[None], self.to)[0]
        return seen, squashed(pixels, SMALL), squashed(grey_of(pixels), SIDE)[0], fitted


def squashed(pixels: Tensor, side: int) -> Tensor:
    """uint8 ``(C, H, W)`` as ``(C, side, side)``, whatever the proportions were."""
    if pixels.shape[1:] == (side, side):
        return pixels
    return F.interpolate(pixels[None], (side, side), mode="bilinear", antialias=True)[0]


def grey_of(pixels: Tensor) -> Tensor:
    """uint8 ``(C, H, W)`` as ``(1, H, W)``: of three channels their luma, of others the mean."""
    return luma(pixels) if len(pixels) in (1, 3) else pixels.float().mean(0, keepdim=True).round().byte()


def _encoded(source: Source, i: int) -> bytes | None:
    """The file of an image; None for numbers, and where it cannot be read."""
    if source.images is not None:
        return None
    try:
        file = source.files[i]
        file = file.file if isinstance(file, Page) else file
        if isinstance(file, bytes | Tensor):
            return file if isinstance(file, bytes) else None
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:  # decoding meets it again, and says why
        return None


def _digest(*parts: bytes) -> str:
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(part)
    return made.hexdigest()


def _format(encoded: bytes, name: str) -> str:
    for magic, called in _MAGIC:
        if encoded.startswith(magic):
            return called
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    return os.path.splitext(name)[1].lstrip(".").upper() if encoded else "empty"


def _together(batch: Iterable[Any]) -> tuple[list[Seen], Any, Any, Any]:
    seen, *parts = zip(*batch, strict=True)
    stacked: list[Any] = []
    for part in parts:
        there = [each.numpy() for each in part if each is not None]
        stacked.append(np.stack(there) if there else np.zeros(0))
    small, grey, fitted = stacked
    return list(seen), small, grey, fitted
