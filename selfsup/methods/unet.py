"""A small U-Net that paints whole images from the maps of a convolutional network with missing cells."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from selfsup.backbones.masked import Masked

SKIPS = 4  # maps that it takes, as published


class UNet(nn.Module):
    """SparK's decoder: hidden places are filled with a token, and maps added from small to large.

    Args:
        stages: width, rows and columns of the encoder's maps, from large to small.
        width: of the smallest map in here; each that is twice as large has half of it.
        size: height and width of the images in pixels, a power of two times the smallest map's.
        channels: of the images.
    """

    def __init__(
        self, stages: Sequence[tuple[int, int, int]], width: int, size: tuple[int, int], channels: int = 3
    ) -> None:
        super().__init__()
        self.size, side = size, stages[-1][2]
        widths = [max(1, width >> step) for step in range((size[1] // side).bit_length())]
        kept = {columns: inside for inside, _, columns in stages[-SKIPS:]}
        # A map is known by its columns.
        self.sides = [side << step for step in range(len(widths))]
        self.norms = nn.ModuleDict({str(own): nn.BatchNorm2d(inside) for own, inside in kept.items()})
        self.tokens = nn.ParameterDict(
            {
                str(own): nn.init.trunc_normal_(torch.empty(inside, 1, 1), std=0.02, a=-0.02, b=0.02)
                for own, inside in kept.items()
            }
        )
        self.maps = nn.ModuleDict(
            {
                str(own): nn.Conv2d(kept[own], out, *((1,) if own == side else (3, 1, 1)))
                for own, out in zip(self.sides, widths, strict=True)
                if own in kept
            }
        )
        self.larger = nn.ModuleList(_Larger(*pair) for pair in pairwise(widths))
        self.paint = nn.Conv2d(widths[-1], channels, 1)

    def forward(self, maps: Sequence[Tensor], visible: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` from maps of the visible cells ``(N, rows, columns)``."""
        given = {x.shape[-1]: x for x in maps}
        x = self._filled(given[self.sides[0]], visible)
        for larger, side in zip(self.larger, self.sides[1:], strict=True):
            x = larger(x)
            if str(side) in self.maps:
                x = x + self._filled(given[side], visible)
        painted: Tensor = self.paint(x)
        return painted

    def _filled(self, x: Tensor, visible: Tensor) -> Tensor:
        """A map, normed over its visible places, with the token at the others, in the width of in here."""
        side = str(x.shape[-1])
        with Masked(self.norms[side], visible, self.size) as mode:
            x = self.norms[side](x)
        found = mode.hidden(x)
        assert found is not None
        filled: Tensor = self.maps[side](torch.where(found[0], self.tokens[side].to(x.dtype), x))
        return filled


class _Larger(nn.Sequential):
    """A map of twice the height and width."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
