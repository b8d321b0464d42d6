"""An encoder that is judged and not changed, or the pixels in its place."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from selfsup.evaluation.features.images import fit
from selfsup.precision import of_passes

PIXELS_SIDE = 32


class FrozenEncoder:
    """An encoder with its preprocessing: images normalised, in its precision, without gradients.

    ``frozen(images)`` gives pooled features ``(B, D)`` in float32 on the CPU, of ``images``
    ``(B, 3, S, S)`` that are uint8, or float in [0, 1].

    Args:
        encoder: maps normalised ``(B, 3, S, S)`` to ``(B, D)``; runs on the device it is on.
        mean, std: of RGB values in [0, 1]; those the encoder was trained with.
        precision: ``"float32"``, ``"bfloat16"`` by autocast, or ``"auto"``, of these what is faster here.

    Attributes:
        precision: the one that is taken.
    """

    def __init__(
        self, encoder: nn.Module, mean: Sequence[float], std: Sequence[float], precision: str = "float32"
    ) -> None:
        self.encoder = encoder
        self.device = next((value.device for value in encoder.parameters()), torch.device("cpu"))
        self.mean, self.std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (mean, std))
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
        """What the encoder is given: float ``(B, 3, S, S)`` on its device."""
        unit = 1.0 if images.is_floating_point() else 255.0
        inputs = images.to(self.device).float().sub(self.mean * unit).div_(self.std * unit)
        return inputs.contiguous(memory_format=torch.channels_last)


class Pixels(FrozenEncoder):
    """In place of an encoder: pixels in [0, 1] at no more than 32 a side, ``(B, 3 * side²)``."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), (0.0,) * 3, (1.0,) * 3)

    def __call__(self, images: Tensor) -> Tensor:
        small = fit(images, min(images.shape[-1], PIXELS_SIDE)).float()
        return (small if images.is_floating_point() else small.div_(255)).flatten(1)
