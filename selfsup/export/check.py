"""Whether an exported model gives the original's features, on photographs."""

from collections.abc import Callable

import torch
from torch import Tensor

from selfsup.evaluation.features.images import Fitting, fit

TOLERANCE = 1e-4  # of the largest feature, and of 1


def photographs(to: Fitting, channels: int = 3) -> Tensor:
    """scikit-learn's two photographs, a temple and a flower: uint8 ``(2, C, H, W)``, fitted.

    Unless there are three channels, their colours are repeated.

    >>> photographs(64).shape
    torch.Size([2, 3, 64, 64])
    """
    from sklearn.datasets import load_sample_images

    images = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]
    whole = torch.cat([fit(image[None], to) for image in images])
    return whole[:, torch.arange(channels) % 3]


@torch.inference_mode()
def difference(one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Largest difference of two models' features of ``images``, and of each of them alone.

    In units of the largest feature if that is above 1.
    """
    expected = one(images)
    found = torch.cat([other(images), *(other(image[None]) for image in images)])
    twice = torch.cat([expected, expected])
    return float((found - twice).abs().max() / expected.abs().max().clamp(min=1))
