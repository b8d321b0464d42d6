"""An encoder that is judged and not changed, or the pixels in its place."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from selfsup.evaluation.features.images import fit
from selfsup.precision import of_passes

PIXELS_SIDE = 32
MOST_PIXELS = 3 * PIXELS_SIDE**2


class FrozenEncoder:
    """An encoder with its preprocessing: images normalised, in its precision, without gradients.

    ``frozen(images)`` gives pooled features ``(B, D)`` in float32 on the CPU, of ``images``
    ``(B, C, H, W)`` that are uint8, or float in [0, 1].

    Args:
        encoder: maps normalised ``(B, C, H, W)`` to ``(B, D)``; runs on the device it is on.
        mean, std: of each channel's values in [0, 1]; those the encoder was trained with.
        precision: ``"float32"``, ``"bfloat16"`` by autocast, or ``"auto"``, of these what is faster here.

    Attributes:
        precision: the one that is taken.
    """

    def __init__(
        self, encoder: nn.Module, mean: Sequence[float], std: Sequence[float], precision: str = "float32"
    ) -> None:
        self.encoder = encoder
        self.device = next((value.device for value in encoder.parameters()), torch.device("cpu"))
        self.mean, self.std = (torch.tensor(v, device=self.device).view(1, -1, 1, 1) for v in (mean, std))
        self.precision = of_passes(precision, self.device)
        self.dtype = torch.bfloat16 if self.precision == "bfloat16" else None

    def __call__(self, images: Tensor) -> Tensor:
        return self.through(self.encoder, images)

    @torch.inference_mode()
    def through(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """``function`` of the normalised images, float32 on the CPU."""
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            return function(self.normalised(images)).float().cpu()

    def normalised(self, images: Tensor) -> Tensor:
        """What the encoder is given: float ``(B, C, H, W)`` on its device."""
        unit = 1.0 if images.is_floating_point() else 255.0
        inputs = images.to(self.device).float().sub(self.mean * unit).div_(self.std * unit)
        return inputs.contiguous(memory_format=torch.channels_last)


class Pixels(FrozenEncoder):
    """In place of an encoder: pixels in [0, 1] at no more than 32 a side, ``(B, C * height * width)``.

    With more than three channels the sides shrink, so that there are at most 3 * 32² values: the time that
    classifiers take grows with their square or cube.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__(nn.Identity(), (0.0,) * channels, (1.0,) * channels)

    def __call__(self, images: Tensor) -> Tensor:
        channels, *whole = images.shape[1:]
        shrink = min(1.0, PIXELS_SIDE / max(whole), math.sqrt(MOST_PIXELS / (channels * math.prod(whole))))
        height, width = (max(1, int(side * shrink + 1e-9)) for side in whole)
        small = fit(images, (height, width)).float()
        return (small if images.is_floating_point() else small.div_(255)).flatten(1)
