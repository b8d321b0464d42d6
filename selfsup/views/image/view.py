"""How one kind of view is drawn, as data: the attributes that ``configs/views`` sets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selfsup.errors import UsageError
from selfsup.sides import in_words

TURNS = {"none": 1, "whole": 4, "quadrant": 16}  # ways to turn a view


@dataclass(frozen=True)
class View:
    """How one view, or ``count`` independent ones alike, is drawn from an image.

    Attributes:
        count: how many views of this kind; 0 leaves the kind out.
        size: pixels of the shorter side; a number up to 1 is a share of the data's image size. The sides of
            a view are in the proportion of that size.
        scale: range of the crop's area as a share of the image.
        ratio: range of the crop's width to its height, as a multiple of the view's own: a view of twice its
            height in width shows boxes about twice as wide as high, and nothing is distorted by more than
            this range.
        mirror: probability of a mirrored copy.
        jitter: probability of colour jitter.
        brightness: strength s of the jitter: the factor is uniform in ``[1 - s, 1 + s]``. Channels that are
            not colours have a factor each.
        contrast: as brightness; of channels that are not colours about the mean of each.
        saturation: as brightness; of colours only.
        hue: as brightness, of a shift in ``[-s, s]`` turns; of colours only.
        grey: probability of greyscale; of colours only.
        blur: probability of blur.
        solarize: probability of solarization.
        sigma: range of the blur's width, in pixels of a view of ``recipe_size`` pixels a side.
        recipe_size: size of the views that ``sigma`` was chosen for; the blur of smaller views is
            narrower in proportion. The side of a rectangle is the square root of its area.
        noise: standard deviation of Gaussian noise that every value gets, of values in [0, 1]; they are
            clipped afterwards.
        drop: probability that a channel is replaced by its mean over the data, each by itself; one is
            always kept.
        turn: whether the finished view is turned by 0 to 3 quarters at random, counter-clockwise: none,
            whole, or one quadrant of it, chosen at random, inside itself.
        of: whose image it is drawn from: the sample's own (self), or that of another sample that belongs with
            it (pair).
    """

    count: int
    size: float
    scale: Sequence[float]
    ratio: Sequence[float]
    mirror: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    blur: float
    sigma: Sequence[float]
    recipe_size: int
    solarize: float
    noise: float = 0.0
    drop: float = 0.0
    turn: str = "none"
    of: str = "self"

    def __post_init__(self) -> None:
        for name in ("mirror", "jitter", "grey", "blur", "solarize", "noise", "drop"):
            if not 0 <= getattr(self, name) <= 1:
                kind = "standard deviation" if name == "noise" else "probability"
                raise UsageError(f"views: {name}={getattr(self, name)} must be a {kind} in [0, 1]")
        if self.of not in ("self", "pair"):
            raise UsageError(f"views: of={self.of} must be self or pair")
        for name, highest in (("scale", 1), ("ratio", math.inf), ("sigma", math.inf)):
            ends = list(getattr(self, name))
            numbers = len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
            if not numbers or not 0 < ends[0] <= ends[1] <= highest:
                at_most = " <= 1" if highest == 1 else ""
                raise UsageError(f"views: {name}={ends} must be [low, high] with 0 < low <= high{at_most}")
        if not self.recipe_size > 0:
            raise UsageError(f"views: recipe_size={self.recipe_size} must be a number of pixels, such as 224")
        if self.turn not in TURNS:
            raise UsageError(f"views: turn={self.turn} must be none, whole or quadrant")
        if self.size <= 0:
            raise UsageError(f"views: size={self.size} must be positive: pixels, or a share up to 1.0")

    def require_turnable(self, size: tuple[int, int]) -> None:
        """Raise a UsageError unless views of this height and width can be turned as they shall be."""
        if self.turn != "none" and size[0] != size[1]:
            raise UsageError(
                f"views: turn={self.turn} is for square views, and these are of {in_words(size)}; take "
                "turn=none or a square data.image_size"
            )
        if self.turn == "quadrant" and size[0] % 2:
            raise UsageError(
                f"views: turn=quadrant is for views of an even side, and these are of {in_words(size)}; take "
                f"size={size[0] + 1}, or another data.image_size"
            )
