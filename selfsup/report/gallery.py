"""The test images of a report: their features, labels, names and thumbnails."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selfsup.data import Source, subset
from selfsup.encoder import Encoder
from selfsup.evaluation.features.extract import Job, evaluating, evenly, extract_each, pooled
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.images import Fitting, batches, fit, fitting, sides_of
from selfsup.report.pictures import framed, visible

LARGEST_TILE = 64  # pixels a side of the small pictures


@dataclass
class Gallery:
    """Readable images of the test split.

    Attributes:
        tiles: uint8 ``(N, 3, T, T)``, thumbnails of the encoder's input as a person sees it
            (:func:`selfsup.report.pictures.visible`); a rectangle has grey beside it.
        channels: of the images.
        x: the encoder's pooled features ``(N, D)``.
        untrained: those of the same architecture untrained.
        labels: int64 ``(N,)``, or None.
        classes: the classes' names.
        names: display names: the end of each path.
    """

    tiles: Tensor
    x: Tensor
    untrained: Tensor
    labels: Tensor | None
    classes: list[str]
    names: list[str]
    channels: int = 3

    def __len__(self) -> int:
        return len(self.x)


def make_gallery(encoder: Encoder, source: Source, images: int, gflops: float, workers: int = 0) -> Gallery:
    """Features and thumbnails of evenly spaced images of a source.

    Args:
        encoder: on its device.
        source: test images.
        images: how many, at most.
        gflops: the limit for encoding them; a large encoder gets fewer images.
        workers: processes that decode.
    """
    affordable = max(16, int(gflops / max(gflops_an_image(encoder), 1e-9)))
    rows = evenly(len(source), min(images, affordable)).nonzero().flatten()
    some = subset(source, rows)
    control = encoder.untrained().to(next(encoder.parameters()).device)
    height, width = encoder.input_size
    tile = min(max(height, width), LARGEST_TILE)
    shrink = tile / max(height, width)
    thumbnail = max(1, round(height * shrink)), max(1, round(width * shrink))
    with evaluating(encoder, control):
        frozen = FrozenEncoder(encoder, encoder.mean, encoder.std)
        jobs = [
            Job(frozen, pooled),
            Job(FrozenEncoder(control, encoder.mean, encoder.std), pooled),
            Job(frozen, lambda _, batch, __: framed(visible(fit(batch, thumbnail)), tile, tile)),
        ]
        (own, other, small), _ = extract_each(jobs, some, fitting(encoder), 128, workers)
    kept = own.samples
    return Gallery(
        tiles=small.x,
        x=own.x,
        untrained=other.x,
        labels=None if some.labels is None else some.labels[kept],
        classes=class_names(source),
        names=["/".join(Path(some.name(i)).parts[-2:]) for i in kept.tolist()],
        channels=encoder.channels,
    )


def class_names(source: Source) -> list[str]:
    """The classes' names, or their numbers; empty without labels."""
    if source.labels is None:
        return []
    numbers = range(int(source.labels.max()) + 1)
    return list(source.classes or [str(number) for number in numbers])


@torch.inference_mode()
def gflops_an_image(encoder: Encoder) -> float:
    """Multiplications and additions, in 10⁹, of encoding one image."""
    image = next(encoder.parameters()).new_zeros(1, encoder.channels, *encoder.input_size)
    with evaluating(encoder), FlopCounterMode(display=False) as counter:
        encoder(image)
    return float(counter.get_total_flops()) / 1e9


def sample(source: Source, count: int, to: Fitting) -> tuple[Tensor, list[int]]:
    """``count`` evenly spaced readable images, fitted: uint8 ``(n, C, H, W)``, and their indices."""
    rows = evenly(len(source), count).nonzero().flatten()
    found = list(batches(source, rows, to, count))
    if not found:
        return torch.empty(0, 3, *sides_of(to), dtype=torch.uint8), []
    return torch.cat([images for _, images in found]), torch.cat([index for index, _ in found]).tolist()


def denormalised(images: Tensor, encoder: Encoder) -> Tensor:
    """uint8 ``(N, C, H, W)`` of images normalised as an encoder's are."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (encoder.mean, encoder.std))
    return ((images.float().cpu() * std + mean).clamp(0, 1) * 255).round().byte()
