"""Colour parameters of views, drawn for a whole batch."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from selfsup.objectives.devices import sent
from selfsup.views.draws import numbers
from selfsup.views.image import geometry
from selfsup.views.image.view import View

# The numbers of the draws: of a view, of each of its channels, of its turn, of its values.
FIRST, DRAWS = geometry.DRAWS, 13
OF_CHANNELS, OF_TURN, OF_VALUES = FIRST + DRAWS, 2**15, 2**16

NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # the jitter that changes nothing


@dataclass(frozen=True)
class ColourParams:
    """Colour, blur, solarisation and noise of N views; ``None`` for what none of them can have.

    Attributes:
        jitter: ``(N, 4)`` factors of brightness, contrast and saturation and hue shift in turns;
            1, 1, 1 and 0 for views that are not jittered.
        order: ``(N, 4)`` permutations; column k says which of the four comes k-th.
        grey: ``(N,)`` bool.
        sigma: ``(N,)`` width of the blur in pixels, 0 for views that are not blurred.
        solarized: ``(N,)`` bool.
        channels: ``(N, 2, C)`` factors of brightness and contrast of each channel, in place of ``jitter``
            where channels are not colours.
        dropped: ``(N, C)`` bool.
        noise: ``(N,)`` int64, the keys of the noise (:func:`selfsup.views.draws.normal`).
        deviation: of the noise.
        radius: of the widest blur that could be drawn, in pixels, three times its sigma.
    """

    jitter: Tensor | None
    order: Tensor
    grey: Tensor | None
    sigma: Tensor | None
    solarized: Tensor | None
    channels: Tensor | None = None
    dropped: Tensor | None = None
    noise: Tensor | None = None
    deviation: float = 0.0
    radius: int = 0

    def __getitem__(self, rows: slice) -> "ColourParams":
        parts: dict[str, Any] = {
            name: part[rows] for name, part in vars(self).items() if isinstance(part, Tensor)
        }
        return replace(self, **parts)


def draw_colour_params(
    view: View, size: tuple[int, int], keys: Tensor, channels: int = 3, colours: bool = True
) -> ColourParams:
    """Parameters of N views of ``size`` (height, width) in pixels.

    Args:
        keys: of the draws, ``(N,)`` (:func:`selfsup.views.draws.keys`).
        channels: C.
        colours: whether the channels are red, green and blue.
    """
    draws = numbers(keys, DRAWS, FIRST)
    jitter = sigma = factors = dropped = None
    high = 0.0
    if view.jitter and colours:
        strength = sent(torch.tensor([view.brightness, view.contrast, view.saturation, view.hue]), draws)
        neutral = sent(torch.tensor(NEUTRAL), draws)
        jitter = neutral + (2 * draws[:, 0:4] - 1) * strength
        jitter = torch.cat([jitter[:, :3].clamp(min=0), jitter[:, 3:]], dim=1)
        jitter = torch.where(draws[:, 8:9] < view.jitter, jitter, neutral)
    if view.blur:
        side = math.sqrt(size[0] * size[1])
        low, high = (end * side / view.recipe_size for end in view.sigma)
        sigma = torch.where(draws[:, 11] < view.blur, low + (high - low) * draws[:, 10], 0.0)
    if (view.jitter and not colours) or view.drop:
        *both, fate = numbers(keys, 3 * channels, OF_CHANNELS).unflatten(1, (3, channels)).unbind(1)
        if not colours:
            strength = sent(torch.tensor([[view.brightness], [view.contrast]]), draws)
            factors = (1 + (2 * torch.stack(both, dim=1) - 1) * strength).clamp(min=0)
            factors = torch.where(draws[:, 8, None, None] < view.jitter, factors, 1.0)
        if view.drop:
            # The channel with the largest draw stays, which matters only where all would go.
            dropped = (fate < view.drop) & (fate < fate.amax(dim=1, keepdim=True))
    return ColourParams(
        jitter=jitter,
        order=draws[:, 4:8].argsort(dim=1),
        grey=draws[:, 9] < view.grey if view.grey and colours else None,
        sigma=sigma,
        solarized=draws[:, 12] < view.solarize if view.solarize else None,
        channels=factors,
        dropped=dropped,
        noise=keys if view.noise else None,
        deviation=view.noise,
        radius=math.ceil(3 * high * (1 + 1e-6)),  # draws are rounded to float32
    )
