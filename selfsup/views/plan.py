"""A view plan: which views of an image a method sees, as data.

Views are made in two stages. *Where* (crop, resize, mirror) works on the decoded image, in
:meth:`ViewPlan.crop`; *how* (colour, blur, solarisation, normalisation) works on the batch and
device the crops are on, in :meth:`ViewPlan.finish`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.views import colour, geometry
from selfsup.views.draws import uniform

_RECIPE_SIZE = 224  # blur widths are stated in pixels of a view of this size
_COLOUR_DRAWS = 13


@dataclass(frozen=True)
class View:
    """How one view, or ``count`` independent ones alike, is drawn from an image.

    Attributes:
        count: how many views of this kind; 0 leaves the kind out.
        size: pixels a side; a number up to 1 is a share of the data's image size.
        scale: range of the crop's area as a share of the image.
        ratio: range of the crop's aspect ratio.
        mirror, jitter, grey, blur, solarize: probabilities.
        brightness, contrast, saturation, hue: strengths of the jitter: factors are uniform in
            ``[1 - s, 1 + s]``, the hue shift in ``[-s, s]`` turns.
        sigma: range of the blur's width, in pixels of a view of 224 px.
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
    solarize: float

    def __post_init__(self) -> None:
        for name in ("mirror", "jitter", "grey", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"views: {name}={getattr(self, name)} is no probability; choose 0 to 1")
        for name, highest in (("scale", 1), ("ratio", math.inf), ("sigma", math.inf)):
            ends = list(getattr(self, name))
            numbers = len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
            if not numbers or not 0 < ends[0] <= ends[1] <= highest:
                at_most = " <= 1" if highest == 1 else ""
                raise UsageError(
                    f"views: {name}={ends} is no range; choose [low, high], 0 < low <= high{at_most}"
                )
        if self.size <= 0:
            raise UsageError(f"views: size={self.size} leaves no pixels; choose pixels, or a share up to 1.0")


class ViewPlan:
    """Makes the views of a batch.

    Args:
        views: the kinds by name, each a mapping of :class:`View`'s attributes.
        image_size: pixels a side of a full-size view.
        mean, std: of the RGB values in [0, 1], for the normalisation.
        seed: of every draw.
        multiple: sizes are rounded to multiples of this (a vision transformer's patch).
    """

    def __init__(
        self,
        views: Mapping[str, Mapping[str, Any]],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        multiple: int = 1,
    ) -> None:
        kinds = [View(**kind) for kind in views.values()]
        self.views = [kind for kind in kinds for _ in range(kind.count)]
        self.sizes = [_pixels(view.size, image_size, multiple) for view in self.views]
        self.mean, self.std, self.seed = mean, std, seed
        self._scales, self._ratios = (
            torch.tensor([list(getattr(view, name)) for view in self.views], dtype=torch.float64)
            for name in ("scale", "ratio")
        )
        self._mirrors = torch.tensor([view.mirror for view in self.views])
        if not self.views:
            raise UsageError("the view plan has no views; give one of its kinds a count")

    def __len__(self) -> int:
        return len(self.views)

    def crop(self, images: Tensor, index: Tensor, epoch: int) -> list[Tensor]:
        """First stage: crops ``(N, 3, size, size)`` float in [0, 255], one tensor a view.

        Args:
            images: uint8 ``(N, 3, H, W)``.
            index: the samples' identities ``(N,)`` int64.
        """
        crops = []
        for number, size in enumerate(self.sizes):
            box, mirror = self.where(number, index, epoch, images.shape[2], images.shape[3])
            crops.append(geometry.crop_resize(images, box, mirror, size))
        return crops

    def where(self, number: int, index: Tensor, epoch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Boxes ``(N, 4)`` (top, left, height, width) and mirroring ``(N,)`` bool of view ``number``."""
        view = self.views[number]
        draws = uniform(self.seed, epoch, index, number, geometry.DRAWS)
        box = geometry.random_boxes(
            draws,
            torch.full_like(index, height),
            torch.full_like(index, width),
            (view.scale[0], view.scale[1]),
            (view.ratio[0], view.ratio[1]),
        )
        return box, draws[:, -1] < view.mirror

    def place_draws(self, index: Tensor, epoch: int) -> Tensor:
        """Draws ``(N, V, DRAWS)`` that decide where all V views of the samples ``index`` ``(N,)`` lie."""
        numbers = range(len(self))
        draws = [uniform(self.seed, epoch, index, number, geometry.DRAWS) for number in numbers]
        return torch.stack(draws, dim=1)

    def places(self, draws: Tensor, height: int, width: int) -> tuple[list[list[int]], list[bool]]:
        """Box and mirroring of each view of one image, as :meth:`where` has them.

        Args:
            draws: the sample's, ``(V, DRAWS)`` of :meth:`place_draws`.
            height, width: of the whole image.
        """
        sides = torch.tensor([height]), torch.tensor([width])
        boxes = geometry.random_boxes(draws, *sides, self._scales, self._ratios)
        return boxes.tolist(), (draws[:, -1] < self._mirrors).tolist()

    def finish(self, crops: Sequence[Tensor], index: Tensor, epoch: int) -> list[Tensor]:
        """Second stage: normalised views ``(N, 3, size, size)``, channels last, from crops in [0, 255]."""
        return [self._colour(number, crop / 255, index, epoch) for number, crop in enumerate(crops)]

    def __call__(self, batch: Mapping[str, Any], epoch: int) -> list[Tensor]:
        """The views of a batch whose ``image`` holds whole images, or crops already made by workers."""
        images, index = batch["image"], batch["index"]
        crops = images if isinstance(images, list) else self.crop(images, index, epoch)
        return self.finish(crops, index, epoch)

    def _colour(self, number: int, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        view = self.views[number]
        draws = uniform(self.seed, epoch, index, number, _COLOUR_DRAWS, first=geometry.DRAWS)
        if view.jitter:
            strength = images.new_tensor([view.brightness, view.contrast, view.saturation, view.hue])
            factors = (2 * draws[:, 0:4] - 1) * strength
            factors[:, :3] = (1 + factors[:, :3]).clamp(min=0)
            order = draws[:, 4:8].argsort(dim=1)
            images = _some(images, draws[:, 8] < view.jitter, colour.jitter, factors, order)
        if view.grey:
            images = _some(images, draws[:, 9] < view.grey, _grey_image)
        if view.blur:
            low, high = (sigma * images.shape[-1] / _RECIPE_SIZE for sigma in view.sigma)
            sigma = low + (high - low) * draws[:, 10]
            images = _some(images, draws[:, 11] < view.blur, colour.blur, sigma)
        if view.solarize:
            images = _some(images, draws[:, 12] < view.solarize, colour.solarize)
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def _pixels(size: float, image_size: int, multiple: int) -> int:
    pixels = size * image_size if size <= 1 else size
    return max(multiple, round(pixels / multiple) * multiple)


def _grey_image(images: Tensor) -> Tensor:
    return colour.greyscale(images).expand_as(images)


def _some(images: Tensor, chosen: Tensor, operation: Any, *arguments: Tensor) -> Tensor:
    """Apply an operation, with per-sample arguments, to the chosen samples only."""
    which = chosen.nonzero().squeeze(1)
    if len(which) == 0:
        return images
    changed = operation(images[which], *(argument[which] for argument in arguments))
    return images.index_copy(0, which, changed)
