"""The space in which images are compared: an encoder's features, or pixels and their principal components."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfsup.data import Source
from selfsup.data.workers import worker_count
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.extract import Features, Job, evaluating, extract_each, pooled
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.evaluation.features.images import fitting
from selfsup.evaluation.rows import principal_components

SIDE = 16  # pixels a side of what is compared without an encoder
COMPONENTS = 128
PIXELS = "pixels, PCA"


@dataclass
class Space:
    """Features of the readable images of a source.

    Attributes:
        rows: int64 ``(N,)``, ascending: each image's position in the source.
        x: float32 ``(N, D)`` on the CPU.
        name: of what made the features.
        skipped: ``(name, reason)`` of the images that cannot be read.
    """

    rows: Tensor
    x: Tensor
    name: str
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.x)


def space_of(
    source: Source,
    encoder: Encoder | None,
    *,
    batch_size: int = 256,
    workers: int | str = 0,
    precision: str = "float32",
) -> Space:
    """Features of the readable images of one source (:func:`spaces_of`).

    >>> from selfsup.data import ImageArray
    >>> noise = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8)
    >>> space_of(ImageArray(noise), None).x.shape
    torch.Size([40, 40])
    """
    settings = {"batch_size": batch_size, "workers": workers, "precision": precision}
    return spaces_of({"train": source}, encoder, **settings)["train"]  # type: ignore[arg-type]


def spaces_of(
    sources: Mapping[str, Source],
    encoder: Encoder | None,
    *,
    batch_size: int = 256,
    workers: int | str = 0,
    precision: str = "float32",
) -> dict[str, Space]:
    """Features of the readable images of several sources, in one space.

    Without an encoder an image is its 16 x 16 pixels, projected on the first 128 principal components of
    those of the first source, or as many as there are.

    Args:
        sources: by name, such as train and test.
        encoder: on its device; None for pixels.
        batch_size: images encoded together.
        workers: as ``data.workers``: a number of processes that decode, or "auto".
        precision: inside the encoder, as for :func:`selfsup.evaluation.extract`.

    Raises:
        UsageError: no image of the first source can be read.
    """
    found: dict[str, Features] = {}
    frozen = Small() if encoder is None else FrozenEncoder(encoder, encoder.mean, encoder.std, precision)
    to = SIDE if encoder is None else fitting(encoder)
    with evaluating(*([] if encoder is None else [encoder])):
        for split, source in sources.items():
            count = worker_count(workers, source)
            (each,), skipped = extract_each([Job(frozen, pooled)], source, to, batch_size, count)
            found[split] = Features(each.x, None, each.samples, skipped)
    first = next(iter(found.values()))
    if not len(first):
        raise UsageError(f"none of the images of '{next(iter(found))}' can be read; {_first(first.skipped)}")
    if encoder is None:
        found = {split: principal_components(first, each, COMPONENTS)[1] for split, each in found.items()}
    name = PIXELS if encoder is None else str(encoder.recipe["name"])
    return {split: Space(each.index, each.x, name, each.skipped) for split, each in found.items()}


class Small(FrozenEncoder):
    """In place of an encoder: the pixels of fitted images in [0, 1], ``(B, C * height * width)``."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), (0.0,), (1.0,))

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1).float().div_(255)


def _first(skipped: list[tuple[str, str]]) -> str:
    return "there are none" if not skipped else "the first, {!r}: {}".format(*skipped[0])
