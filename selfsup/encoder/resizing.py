"""timm's preprocessing of images for an encoder, from the encoder's configuration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsup.sides import compact, in_words, sides

LARGEST_SIDE = 4096  # pixels
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = {
    "center": "shorter side to {scaled}, {how}; centre crop of {size}",
    "squash": "both sides to {scaled}, {how}; centre crop of {size}",
    "border": "longer side to {scaled}, {how}; the rest of {size} is filled with the mean",
}
OURS = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}  # of the encoders trained here
# timm's defaults.
_DEFAULTS = {"interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}


@dataclass(frozen=True)
class Resizing:
    """The preprocessing of an encoder trained elsewhere, without mean and standard deviation.

    Attributes:
        size: pixels a side of what the encoder sees, or its height and width.
        interpolation: one of Pillow's, by its name.
        crop_pct: ``size`` as a share of the resized side. Above 1, black is added around the image.
        crop_mode: the resized side: the shorter one (``"center"``), both, without keeping the image's
            proportions (``"squash"``), or the longer one (``"border"``).
        fill: values in 0..255 of the border, one a channel.

    Raises:
        ValueError: timm would not accept one of them.

    Example:
        >>> Resizing(224, "bicubic", 0.875).scaled
        256
    """

    size: int | tuple[int, int]  # may be hashed: images are read once for all encoders that see them alike
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    fill: tuple[int, ...] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation '{self.interpolation}' is none of {', '.join(INTERPOLATIONS)}")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode '{self.crop_mode}' is none of {', '.join(CROP_MODES)}")
        if not 0 < self.crop_pct < math.inf or not all(
            0 < side <= LARGEST_SIDE for side in sides(self.scaled)
        ):
            raise ValueError(f"crop_pct {self.crop_pct} of {in_words(self.size)}")

    @property
    def scaled(self) -> int | list[int]:
        """Pixels of the resized side, or of height and width."""
        return compact([math.floor(side / self.crop_pct) for side in sides(self.size)])

    def record(self) -> dict[str, Any]:
        """The same in timm's terms, without the size."""
        return {name: getattr(self, name) for name in OURS}

    def words(self) -> str:
        """The same in words."""
        smooth = "" if self.interpolation == "nearest" else ", antialiased"
        how = self.interpolation + smooth
        return CROP_MODES[self.crop_mode].format(
            scaled=in_words(self.scaled), how=how, size=in_words(self.size)
        )


def resizing_of(cfg: Mapping[str, Any], size: int | list[int], mean: Sequence[float]) -> Resizing:
    """The preprocessing that a ``pretrained_cfg`` of timm describes.

    Raises:
        ValueError, TypeError: timm would not accept something in it.
    """
    said: dict[str, Any] = {name: cfg.get(name) or default for name, default in _DEFAULTS.items()}
    border = said["crop_mode"] == "border"
    fill = tuple(round(255 * value) for value in mean) if border else (0,) * len(mean)
    pixels = size if isinstance(size, int) else sides(size)
    return Resizing(pixels, str(said["interpolation"]), float(said["crop_pct"]), str(said["crop_mode"]), fill)
