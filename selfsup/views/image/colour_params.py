"""Colour parameters of views, drawn for a whole batch."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selfsup.views.image.view import View

DRAWS = 13


@dataclass(frozen=True)
class ColourParams:
    """Colour, blur and solarisation of each of N views; ``None`` for what none of them can have.

    Attributes:
        jitter: ``(N, 4)`` factors of brightness, contrast and saturation and hue shift in turns;
            1, 1, 1 and 0 for views that are not jittered.
        order: ``(N, 4)`` permutations; column k says which of the four comes k-th.
        grey: ``(N,)`` bool.
        sigma: ``(N,)`` width of the blur in pixels, 0 for views that are not blurred.
        solarized: ``(N,)`` bool.
    """

    jitter: Tensor | None
    order: Tensor
    grey: Tensor | None
    sigma: Tensor | None
    solarized: Tensor | None

    def __getitem__(self, rows: slice) -> "ColourParams":
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: part[rows] for name, part in parts.items()})


def draw_colour_params(view: View, size: int, draws: Tensor) -> ColourParams:
    """Parameters of N views of ``size`` pixels from uniform ``draws`` ``(N, DRAWS)``."""
    jitter = sigma = None
    if view.jitter:
        strength = draws.new_tensor([view.brightness, view.contrast, view.saturation, view.hue])
        neutral = draws.new_tensor([1.0, 1.0, 1.0, 0.0])
        factors = neutral + (2 * draws[:, 0:4] - 1) * strength
        factors = torch.cat([factors[:, :3].clamp(min=0), factors[:, 3:]], dim=1)
        jitter = torch.where(draws[:, 8:9] < view.jitter, factors, neutral)
    if view.blur:
        low, high = (end * size / view.recipe_size for end in view.sigma)
        sigma = torch.where(draws[:, 11] < view.blur, low + (high - low) * draws[:, 10], 0.0)
    return ColourParams(
        jitter=jitter,
        order=draws[:, 4:8].argsort(dim=1),
        grey=draws[:, 9] < view.grey if view.grey else None,
        sigma=sigma,
        solarized=draws[:, 12] < view.solarize if view.solarize else None,
    )
