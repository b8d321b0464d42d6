"""Frozen features of a data source's images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from selfsup.data import Source, UnreadableImage

PIXELS_SIDE = 32
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass
class Features:
    """Features of the readable images of a source.

    Attributes:
        x: float32 ``(N, D)``, on the CPU.
        labels: int64 ``(N,)``, or None.
        index: int64 ``(N,)``, each sample's place in the source.
        skipped: ``(name, reason)`` of the images that could not be read.
    """

    x: Tensor
    labels: Tensor | None
    index: Tensor
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.x)


def extract(
    encoder: nn.Module,
    source: Source,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
    precision: str = "float32",
    workers: int = 0,
) -> Features:
    """Pooled features of every image, in the source's order, without augmentation.

    Images are fitted to the size (:func:`fit`), scaled to [0, 1] and normalised. The encoder runs in
    evaluation mode on the device its weights are on, and is given back in the mode it was in.

    Args:
        encoder: maps float ``(B, 3, S, S)`` to ``(B, D)``.
        source: images and, maybe, labels.
        image_size: S, pixels a side.
        mean, std: of RGB values in [0, 1]; those the encoder was trained with.
        batch_size: images a pass.
        precision: of the encoder's inner products: ``"float32"``, or ``"bfloat16"`` by autocast.
            Features are float32 either way, but bfloat16 leaves rounding noise in them.
        workers: processes that decode, for a source that decodes on demand.
    """
    with evaluating(encoder):
        look = seer(encoder, mean, std, precision)
        return extract_each([look], source, image_size, batch_size, workers)[0]


def pixels(source: Source, image_size: int, batch_size: int = 256, workers: int = 0) -> Features:
    """The control without an encoder: what it would see, in [0, 1], at most 32 pixels a side, flattened."""
    return extract_each([raw_pixels], source, image_size, batch_size, workers)[0]


def extract_each(
    looks: Sequence[Callable[[Tensor], Tensor]],
    source: Source,
    image_size: int,
    batch_size: int = 256,
    workers: int = 0,
    progress: Callable[[int], None] = lambda images: None,
) -> list[Features]:
    """Features of several encoders in one pass over the images, each decoded once.

    Args:
        looks: functions of uint8 ``(B, 3, S, S)`` that give float32 ``(B, D)`` on the CPU.
        source, image_size, batch_size, workers: as for :func:`extract`.
        progress: is told the number of images of every batch done.
    """
    skipped: list[tuple[str, str]] = []
    index = torch.empty(len(source), dtype=torch.int64)
    found = [torch.empty(0, 0) for _ in looks]
    done = 0
    for rows, images in _batches(source, image_size, batch_size, workers, skipped):
        block = slice(done, done + len(rows))
        for i, look in enumerate(looks):
            x = look(images)
            if done == 0:
                found[i] = torch.empty(len(source), x.shape[1])
            found[i][block] = x
        index[block] = rows
        done += len(rows)
        progress(len(rows))
    index = index[:done]
    labels = None if source.labels is None else source.labels[index]
    return [Features(x[:done], labels, index, skipped) for x in found]


def seer(
    encoder: nn.Module, mean: Sequence[float], std: Sequence[float], precision: str = "float32"
) -> Callable[[Tensor], Tensor]:
    """A function of uint8 ``(B, 3, S, S)`` that normalises and encodes: float32 ``(B, D)`` on the CPU."""
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    shift = torch.tensor(mean, device=device).mul(255).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).mul(255).view(1, 3, 1, 1)
    dtype = PRECISIONS[precision]

    @torch.inference_mode()
    def look(images: Tensor) -> Tensor:
        inputs = images.to(device).float().sub_(shift).div_(scale)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return encoder(inputs).float().cpu()

    return look


def raw_pixels(images: Tensor) -> Tensor:
    """uint8 ``(B, 3, S, S)`` in [0, 1] at no more than 32 pixels a side, ``(B, 3 * side²)``."""
    return fit(images, min(images.shape[-1], PIXELS_SIDE)).float().div_(255).flatten(1)


def one_channel(*controls: Features) -> None:
    """Keep one channel of raw pixels ``(N, 3 * side²)``, in place, if all three are equal everywhere.

    Copies change neither cosines nor predictions' quality, but cost the probe a factor of nine.
    """
    channels = [control.x.unflatten(1, (3, -1)) for control in controls]
    if all((x == x[:, :1]).all() for x in channels):
        for control, x in zip(controls, channels, strict=True):
            control.x = x[:, 0].contiguous()


def fit(images: Tensor, size: int) -> Tensor:
    """uint8 ``(B, 3, H, W)`` as ``(B, 3, size, size)``: the shorter side resized, the centre cropped.

    Bilinear and antialiased, as the preprocessing that a saved encoder states for timm.
    """
    height, width = images.shape[-2:]
    shorter = min(height, width)
    if shorter != size:
        shape = (max(size, round(height * size / shorter)), max(size, round(width * size / shorter)))
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


@contextmanager
def evaluating(*encoders: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own former mode afterwards."""
    with ExitStack() as stack:
        for encoder in encoders:
            for module in encoder.modules():
                stack.callback(setattr, module, "training", module.training)
            encoder.eval()
        yield


def _batches(
    source: Source, size: int, batch_size: int, workers: int, skipped: list[tuple[str, str]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices ``(B,)`` and fitted uint8 ``(B, 3, S, S)``; unreadable images are added to ``skipped``."""
    if source.images is not None:
        for index in torch.arange(len(source)).split(batch_size):
            yield index, fit(source.images[index[0] : index[-1] + 1], size)
        return
    loader: DataLoader[Any] = DataLoader(
        _Fitted(source, size), batch_size=batch_size, num_workers=workers, collate_fn=list
    )
    for batch in loader:
        skipped += [image for _, image in batch if isinstance(image, tuple)]
        readable = [(i, image) for i, image in batch if isinstance(image, Tensor)]
        if readable:
            yield torch.tensor([i for i, _ in readable]), torch.stack([image for _, image in readable])


class _Fitted(Dataset[tuple[int, Tensor | tuple[str, str]]]):
    """Sample i as (i, fitted image), or (i, (name, reason)) if it cannot be read."""

    def __init__(self, source: Source, size: int):
        self.source, self.size = source, size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[int, Tensor | tuple[str, str]]:
        try:
            return i, fit(self.source[i].unsqueeze(0), self.size)[0]
        except UnreadableImage as error:
            return i, (error.name, error.reason)
