"""A view plan: which views of an image a method sees, as data.

Views are made in two stages. *Where* (crop, resize, mirror) works on the decoded image, in
:meth:`ViewPlan.crop`; *how* (colour, blur, solarisation, normalisation, and a turn if there is one) works on
the batch and device the crops are on, in :meth:`ViewPlan.finish`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.objectives.devices import sent
from selfsup.sides import sides
from selfsup.views.draws import keys, uniform
from selfsup.views.image import colour, fused, geometry, native
from selfsup.views.image.colour_params import NEUTRAL, OF_TURN, ColourParams, draw_colour_params
from selfsup.views.image.view import TURNS, View


class ViewPlan:
    """Makes the views of a batch of images of C channels, as many as there are means.

    Args:
        views: the kinds by name, each a mapping of :class:`View`'s attributes; ``repeat`` is no kind.
        image_size: pixels a side of a full-size view, or its height and width.
        mean, std: of each channel's values in [0, 1], for the normalisation.
        seed: of every draw.
        multiple: sizes are rounded to multiples of this (a vision transformer's patch), or heights and
            widths to multiples of two numbers.
        native: whether compiled code makes the views of batches on a CPU, where there is a compiler.
        colours: whether three channels are red, green and blue. Of other channels each has a brightness and
            a contrast of its own, and operations that need colours are left out (:meth:`left_out`).

    Attributes:
        views: the kind of each view.
        sizes: height and width of each view in pixels.
        of_pair: whether each view is drawn from a partner's image.
        compiled: whether a GPU's views get their colours by compiled code, where they are red, green and
            blue without noise.

    Example:
        >>> kind = dict(count=2, size=1.0, scale=[0.2, 1], ratio=[0.75, 1.33], mirror=0.5, jitter=0.8,
        ...     brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, grey=0.2, blur=0.5, sigma=[0.1, 2],
        ...     recipe_size=224, solarize=0.0)
        >>> plan = ViewPlan({"each": kind}, [32, 64], mean=[0.5] * 4, std=[0.2] * 4)
        >>> batch = {"image": torch.zeros(3, 4, 50, 60, dtype=torch.uint8), "index": torch.arange(3)}
        >>> [view.shape for view in plan(batch, epoch=0)]
        [torch.Size([3, 4, 32, 64]), torch.Size([3, 4, 32, 64])]
    """

    def __init__(
        self,
        views: Mapping[str, Mapping[str, Any]],
        image_size: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        multiple: int | Sequence[int] = 1,
        native: bool = False,
        colours: bool = True,
    ) -> None:
        kinds = [_kind(name, settings) for name, settings in view_kinds(views).items()]
        self.views = [kind for kind in kinds for _ in range(kind.count)]
        self.sizes = [_pixels(view.size, image_size, multiple) for view in self.views]
        self.mean, self.std, self.seed, self.native = list(mean), list(std), seed, native
        self.compiled = False
        self.coloured = colours and self.channels == 3
        self.of_pair = [view.of == "pair" for view in self.views]
        if not self.views:
            raise UsageError("the view plan has no views; give one of its kinds a count")
        for view, size in zip(self.views, self.sizes, strict=True):
            view.require_turnable(size)
        if all(self.of_pair):
            raise UsageError(
                "of=pair draws every view from the partner's image, and none from the image itself; take a "
                "plan of two kinds, such as views=byol views.second.of=pair"
            )

    def __len__(self) -> int:
        return len(self.views)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.mean)

    def left_out(self) -> str:
        """What the views lack because their channels are not colours, a sentence; empty if nothing."""
        jittered = [view for view in self.views if view.jitter]
        asked = {
            "saturation": any(view.saturation for view in jittered),
            "hue": any(view.hue for view in jittered),
            "greyscale": any(view.grey for view in self.views),
            "dropping of channels": self.channels == 1 and any(view.drop for view in self.views),
        }
        words = [] if self.coloured else [word for word, wanted in asked.items() if wanted]
        whose = "one channel is grey" if self.channels == 1 else f"{self.channels} channels are not colours"
        return f"left out of the views, whose {whose}: {', '.join(words)}" if words else ""

    def crop(self, images: Tensor, index: Tensor, epoch: int, partners: Tensor | None = None) -> list[Tensor]:
        """First stage: crops ``(N, C, height, width)`` float in [0, 255], one tensor a view.

        Args:
            images: uint8 ``(N, C, H, W)``.
            index: the samples' identities ``(N,)`` int64.
            partners: images like ``images``, of the samples that belong with them; those by default.
        """
        crops = []
        for number, size in enumerate(self.sizes):
            box, mirror = self.where(number, index, epoch, images.shape[2], images.shape[3])
            shown = images if partners is None or not self.of_pair[number] else partners
            crops.append(geometry.crop_resize(shown, box, mirror, size))
        return crops

    def where(
        self, number: int, index: Tensor, epoch: int, height: int | Tensor, width: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes ``(N, 4)`` (top, left, height, width) and mirroring ``(N,)`` bool of view ``number``.

        Args:
            height, width: of all images, or of each ``(N,)``.
        """
        view = self.views[number]
        draws = uniform(self.seed, epoch, index, number, geometry.DRAWS)
        box = geometry.random_boxes(
            draws,
            torch.zeros_like(index) + height,
            torch.zeros_like(index) + width,
            _pair(view.scale),
            self._ratio(number),
        )
        return box, draws[:, -1] < view.mirror

    def drawn(
        self, number: int, index: Tensor, epoch: int, height: int | Tensor, width: int | Tensor
    ) -> dict[str, Tensor]:
        """How view ``number`` of each sample is made, in numbers a network can learn from.

        Returns:
            ``box`` ``(N, 4)``, the crop's top, left, height and width as shares of the image; ``mirror``
            ``(N,)`` bool; ``jitter`` ``(N, 4)``, factors of brightness, contrast and saturation and the hue's
            shift in turns; ``grey`` and ``solarized`` ``(N,)`` bool; ``sigma`` ``(N,)``, the blur's width in
            pixels; ``channels`` ``(N, 2, C)``, the factors of brightness and contrast of each channel, where
            they are not colours; ``dropped`` ``(N, C)`` bool; ``turn`` ``(N,)`` int64, as
            :func:`selfsup.views.image.geometry.turned` takes it, 0 where nothing is turned.
        """
        box, mirror = self.where(number, index, epoch, height, width)
        sides = torch.stack(
            [torch.zeros_like(index) + side for side in (height, width, height, width)], dim=1
        )
        colours = self.colours(number, index, epoch)
        none = torch.zeros_like(mirror)
        of_channels = none.unsqueeze(1).expand(-1, self.channels)
        neutral = sent(torch.tensor(NEUTRAL), index.device).expand(len(index), -1)
        return {
            "box": box / sides,
            "mirror": mirror,
            "jitter": neutral if colours.jitter is None else colours.jitter,
            "grey": none if colours.grey is None else colours.grey,
            "sigma": none.float() if colours.sigma is None else colours.sigma,
            "solarized": none if colours.solarized is None else colours.solarized,
            "channels": (~of_channels).float().unsqueeze(1).expand(-1, 2, -1)
            if colours.channels is None
            else colours.channels,
            "dropped": of_channels if colours.dropped is None else colours.dropped,
            "turn": self.turns(number, index, epoch),
        }

    def places(self, index: Tensor, epoch: int) -> Callable[[int, int, int], list[tuple[list[int], bool]]]:
        """The boxes of a batch's views, computed one image at a time, once its size is known.

        Returns:
            a function of (row of ``index``, height, width) that gives box and mirroring of each view,
            the same as those of :meth:`where`.
        """
        drawn, mirrored = [], []
        for number, view in enumerate(self.views):
            draws = uniform(self.seed, epoch, index, number, geometry.DRAWS)
            drawn.append(geometry.attempts(draws, _pair(view.scale), self._ratio(number)))
            mirrored.append((draws[:, -1] < view.mirror).tolist())

        def place(row: int, height: int, width: int) -> list[tuple[list[int], bool]]:
            boxes = [geometry.random_box(attempts, row, height, width) for attempts in drawn]
            return [(box, flips[row]) for box, flips in zip(boxes, mirrored, strict=True)]

        return place

    def finish(self, crops: Sequence[Tensor], index: Tensor, epoch: int) -> list[Tensor]:
        """Second stage: normalised views ``(N, C, height, width)``, channels last, from crops in [0, 255].

        Args:
            crops: uint8 or float ``(N, C, height, width)``, one tensor a view.
            index: the samples' identities ``(N,)`` int64.
        """
        return [self._finish(number, crop, index, epoch) for number, crop in enumerate(crops)]

    def __call__(self, batch: Mapping[str, Any], epoch: int) -> list[Tensor]:
        """The views of a batch whose ``image`` holds whole images, or crops already made by workers.

        Views of a pair are of its ``partner``; ``draw`` numbers the rows by which views are drawn, if samples
        are repeated.
        """
        images, index = batch["image"], batch.get("draw", batch["index"])
        if isinstance(images, list):
            return self.finish(images, index, epoch)
        partners = batch.get("partner", images)
        if not self.natively(images.device.type):
            return self.finish(self.crop(images, index, epoch, partners), index, epoch)
        height, width = images.shape[2:]
        places = [self.where(number, index, epoch, height, width) for number in range(len(self))]
        return [
            self._finish(number, partners if pair else images, index, epoch, place)
            for number, (place, pair) in enumerate(zip(places, self.of_pair, strict=True))
        ]

    def colours(self, number: int, index: Tensor, epoch: int) -> ColourParams:
        """Colour, blur, solarisation and noise of view ``number`` of each sample."""
        of_views = keys(self.seed, epoch, index, number)
        return draw_colour_params(
            self.views[number], self.sizes[number], of_views, self.channels, self.coloured
        )

    def turns(self, number: int, index: Tensor, epoch: int) -> Tensor:
        """How view ``number`` of each sample is turned, ``(N,)`` int64; see :meth:`drawn`."""
        draws = uniform(self.seed, epoch, index, number, 1, OF_TURN)[:, 0]
        return (TURNS[self.views[number].turn] * draws).long()

    def _ratio(self, number: int) -> tuple[float, float]:
        """The range of a box's width to its height in pixels."""
        (low, high), (height, width) = self.views[number].ratio, self.sizes[number]
        return low * (width / height), high * (width / height)

    def _finish(
        self,
        number: int,
        images: Tensor,
        index: Tensor,
        epoch: int,
        place: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        drawn = self.colours(number, index, epoch)
        mean, std = (sent(torch.tensor(values), images.device) for values in (self.mean, self.std))
        if self.natively(images.device.type):
            made = native.render(images, drawn, mean, std, self.sizes[number], self.coloured, place)
        elif self.compiled and images.device.type != "cpu" and self.coloured and drawn.noise is None:
            made = fused.compiled()(images, drawn, mean, std)
        else:
            made = colour.render(images, drawn, mean, std)
        if (turn := self.views[number].turn) == "none":
            return made
        return geometry.turned(made, self.turns(number, index, epoch), turn == "quadrant")

    def natively(self, device: str = "cpu") -> bool:
        """Whether compiled code makes the views on ``device``."""
        return self.native and device == "cpu" and native.available()


def view_kinds(views: Mapping[str, Any]) -> dict[str, Any]:
    """The kinds of views in a configuration's ``views``, which also says how often an image is repeated.

    >>> view_kinds({"repeat": 1, "each": {"count": 2}})
    {'each': {'count': 2}}
    """
    return {name: settings for name, settings in views.items() if name != "repeat"}


def _kind(name: str, settings: Mapping[str, Any]) -> View:
    known = [field.name for field in fields(View)]
    needed = [field.name for field in fields(View) if field.default is MISSING]  # older plans lack the others
    for key in settings:
        if key not in known:
            raise UsageError(f"views.{name} has no '{key}'; it takes {', '.join(known)}")
    missing = [key for key in needed if key not in settings]
    if missing:
        raise UsageError(
            f"the view plan has no views '{name}', but an experiment or a key=value sets their "
            f"{', '.join(settings)}; take another plan (views=NAME), or set views.{name} whole: "
            f"{', '.join(missing)}"
        )
    return View(**settings)


def _pair(ends: Sequence[float]) -> tuple[float, float]:
    return ends[0], ends[1]


def _pixels(size: float, image_size: int | Sequence[int], multiple: int | Sequence[int]) -> tuple[int, int]:
    whole = sides(image_size)
    height, width = (
        max(step, round(size * (side if size <= 1 else side / min(whole)) / step) * step)
        for side, step in zip(whole, sides(multiple), strict=True)
    )
    return height, width
