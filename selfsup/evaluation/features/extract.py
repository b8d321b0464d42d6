"""Frozen features of a data source's images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfsup.cores import look
from selfsup.data import Source
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.frozen import FrozenEncoder, Pixels
from selfsup.evaluation.features.images import Fitting, batches, sides_of
from selfsup.evaluation.features.processes import gathered, shard


class Part(NamedTuple):
    """Values extracted in addition to pooled features, perhaps of some images only.

    Attributes:
        x: ``(n, ...)``.
        rows: int64 ``(n,)``, ascending; the rows of the features that these belong to.
    """

    x: Tensor
    rows: Tensor


class Images(NamedTuple):
    """The origin of the features, for protocols that need more than features.

    Attributes:
        source: the images; only those of ``Features.index`` can be read.
        fitting: how they are resized and cropped for the encoder.
        encoder: in evaluation mode, not to be changed (deepcopy it); None for the raw pixels.
        frozen: the same with its preprocessing, for uint8 images.
        workers: processes that decode.
    """

    source: Source
    fitting: Fitting
    encoder: Any
    frozen: FrozenEncoder
    workers: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the encoder sees."""
        return sides_of(self.fitting)


@dataclass
class Features:
    """Features of the readable images of a source.

    Attributes:
        x: ``(N, D)``, float32 where extracted here, on the CPU.
        labels: int64 ``(N,)``, or None.
        index: int64 ``(N,)``, each sample's place in the source.
        skipped: ``(name, reason)`` of the images that could not be read.
        parts: the results of a protocol's ``needs``, by name.
        missing: parts that this encoder does not have, with a sentence why.
        images: their origin; None for features without it.
    """

    x: Tensor
    labels: Tensor | None
    index: Tensor
    skipped: list[tuple[str, str]] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    images: Images | None = None

    def __len__(self) -> int:
        return len(self.x)


# Of a batch: (frozen, uint8 images (B, C, H, W), index (B,)) -> (B, ...)
Extractor = Callable[[FrozenEncoder, Tensor, Tensor], Tensor]


class Job(NamedTuple):
    """One thing to extract of every image, or of ``images`` evenly spaced ones.

    Attributes:
        frozen: the encoder.
        extractor: a function of :mod:`selfsup.evaluation.features.parts`, its settings bound.
        images: how many, None for all.
    """

    frozen: FrozenEncoder
    extractor: Extractor
    images: int | None = None


class Extracted(NamedTuple):
    """A job's result: ``x`` ``(n, ...)`` of ``samples`` ``(n,)``, or the reason why there is none."""

    x: Tensor
    samples: Tensor
    reason: str | None = None


def pooled(frozen: FrozenEncoder, images: Tensor, index: Tensor) -> Tensor:
    """The encoder's pooled features ``(B, D)``."""
    return frozen(images)


def extract(
    encoder: nn.Module,
    source: Source,
    image_size: Fitting,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
    precision: str = "float32",
    workers: int = 0,
) -> Features:
    """Pooled features of every image, in the source's order, without augmentation.

    Images are fitted to the size (:func:`~selfsup.evaluation.features.images.fit`), scaled to [0, 1] and
    normalised. The encoder runs in evaluation mode on the device its weights are on, and is given back in the
    mode it was in. Processes of an initialised ``torch.distributed`` share the images, and each returns
    the features of all.

    Args:
        encoder: maps float ``(B, C, H, W)`` to ``(B, D)``.
        source: images and, maybe, labels.
        image_size: pixels a side, or height and width; or the preprocessing of an encoder that came with its
            own.
        mean, std: of each channel's values in [0, 1]; those the encoder was trained with.
        batch_size: images a pass.
        precision: of the encoder's inner products, as for :class:`FrozenEncoder`.
            Features are float32 either way, but bfloat16 leaves rounding noise in them.
        workers: processes that decode, for a source that decodes on demand.
    """
    with evaluating(encoder):
        job = Job(FrozenEncoder(encoder, mean, std, precision), pooled)
        (found,), skipped = extract_each([job], source, image_size, batch_size, workers)
    return features_of(found, source, skipped)


def pixels(source: Source, image_size: Fitting, batch_size: int = 256, workers: int = 0) -> Features:
    """The control without an encoder: the encoder's input in [0, 1], at most 32 pixels a side, flattened
    (:class:`~selfsup.evaluation.features.frozen.Pixels`)."""
    (found,), skipped = extract_each([Job(Pixels(), pooled)], source, image_size, batch_size, workers)
    return features_of(found, source, skipped)


def features_of(found: Extracted, source: Source, skipped: list[tuple[str, str]]) -> Features:
    """The features of a source, with its labels."""
    labels = None if source.labels is None else source.labels[found.samples]
    return Features(found.x, labels, found.samples, skipped)


def extract_each(
    jobs: Sequence[Job],
    source: Source,
    image_size: Fitting,
    batch_size: int = 256,
    workers: int = 0,
    progress: Callable[[int], None] = lambda images: None,
) -> tuple[list[Extracted], list[tuple[str, str]]]:
    """All jobs in one pass over the images, each decoded once.

    Args:
        jobs: of encoders that images are fitted to in one way.
        source, image_size, batch_size, workers: as for :func:`extract`.
        progress: called with the number of images of every batch done.

    Returns:
        Each job's result, in the source's order, and ``(name, reason)`` of images that could not be read.
    """
    own = shard(len(source))
    skipped: list[tuple[str, str]] = []
    wanted = [evenly(len(source), job.images) for job in jobs]
    found: list[list[Tensor]] = [[] for _ in jobs]
    taken: list[list[Tensor]] = [[] for _ in jobs]
    reasons: list[str | None] = [None] * len(jobs)
    for index, images in batches(source, own, image_size, batch_size, workers, skipped):
        look()
        for i, job in enumerate(jobs):
            chosen = wanted[i][index]
            if reasons[i] is not None or not chosen.any():
                continue
            some, rows = (images, index) if chosen.all() else (images[chosen], index[chosen])
            try:
                found[i].append(job.extractor(job.frozen, some, rows))
                taken[i].append(rows)
            except NoScore as why:
                reasons[i] = str(why)
        progress(len(index))
    done = [
        Extracted(_joined(found.pop(0)), _joined(rows, torch.int64), reason)
        for rows, reason in zip(taken, reasons, strict=True)
    ]
    return gathered(done), gathered(skipped)


def evenly(count: int, some: int | None) -> Tensor:
    """A mask ``(count,)`` of ``some`` evenly spaced samples, or of all."""
    if some is None or some >= count:
        return torch.ones(count, dtype=torch.bool)
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.arange(some) * count // some] = True
    return mask


def _joined(blocks: list[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """The blocks concatenated, each freed once it is copied."""
    if not blocks:
        return torch.empty(0, *([0] if dtype == torch.float32 else []), dtype=dtype)
    whole = blocks[0].new_empty(sum(map(len, blocks)), *blocks[0].shape[1:])
    start = 0
    while blocks:
        block = blocks.pop(0)
        whole[start : start + len(block)] = block
        start += len(block)
    return whole


def one_channel(*controls: Features, channels: int = 3) -> None:
    """Keep one channel of raw pixels ``(N, C * height * width)``, in place, if all are equal everywhere.

    Copies change neither cosines nor predictions' quality, but cost the probe a factor of C².
    """
    each = [control.x.unflatten(1, (channels, -1)) for control in controls]
    if all((x == x[:, :1]).all() for x in each):
        for control, x in zip(controls, each, strict=True):
            control.x = x[:, 0].contiguous()


@contextmanager
def evaluating(*encoders: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own former mode afterwards."""
    with ExitStack() as stack:
        for encoder in encoders:
            for module in encoder.modules():
                stack.callback(setattr, module, "training", module.training)
            encoder.eval()
        yield


def with_parts(features: Features, extracted: Mapping[str, Extracted]) -> Features:
    """The features with the parts of a protocol, by name."""
    parts = {
        name: Part(part.x, torch.searchsorted(features.index, part.samples))
        for name, part in extracted.items()
        if part.reason is None
    }
    missing = {name: part.reason for name, part in extracted.items() if part.reason is not None}
    return replace(features, parts=parts, missing=missing)
