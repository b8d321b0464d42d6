"""What a method needs of its views, encoder and settings, refused in a sentence where it is not there."""

import math
from collections.abc import Mapping

import torch

from selfsup.backbones.masked import leaks
from selfsup.encoder import Encoder
from selfsup.encoder.trials import FAILED
from selfsup.errors import UsageError
from selfsup.sides import compact, in_words, sizes_in_words
from selfsup.views import ViewPlan


def require_views(plan: ViewPlan, at_least: int, method: str, views: str | None = None) -> None:
    """Raise a UsageError unless the plan has enough views for the method.

    Args:
        views: a plan that has; by default the one named as the method.
    """
    if len(plan) < at_least:
        raise UsageError(
            f"{method} compares {at_least} views and the plan gives {len(plan)}; take views={views or method}"
        )


def large_views(plan: ViewPlan, method: str) -> int:
    """How many views are of the largest size; raises a UsageError unless they come first."""
    large = plan.sizes.count(max(plan.sizes))
    if any(size != max(plan.sizes) for size in plan.sizes[:large]):
        raise UsageError(f"{method} takes its large views first; list the kinds of views from large to small")
    return large


def require_full_size(plan: ViewPlan, encoder: Encoder, method: str, views: str = "mae") -> None:
    """Raise a UsageError unless every view has the encoder's input size.

    Args:
        views: a plan whose views have.
    """
    if set(plan.sizes) != {encoder.input_size}:
        raise UsageError(
            f"{method} masks views of {in_words(encoder.input_size)} and the plan has "
            f"{sizes_in_words(plan.sizes)}; take views={views}"
        )


def require_queue(size: int, rows: int) -> None:
    """Raise a UsageError unless a queue of ``size`` holds all ``rows`` that a step adds to it."""
    if size < rows:
        raise UsageError(
            f"method.queue is {size} and a step adds {rows} embeddings, of which the rest would be lost; "
            f"take method.queue={max(rows, 4096)}, or a smaller batch"
        )


def require_maskable(encoder: Encoder, method: str) -> list[tuple[int, int, int]]:
    """Width, height and width of each of a convolutional network's maps, from large to small.

    Raises a UsageError unless the network can leave hidden cells out of every operation, which is tried.
    """
    name, size = encoder.recipe["name"], encoder.input_size
    ways = "take a convolutional network, such as backbone=resnet10, resnet18 or convnext_tiny"
    if encoder.has_tokens or not hasattr(encoder.model, "forward_intermediates"):
        raise UsageError(f"{method} masks maps of a convolutional network, which '{name}' is not; {ways}")
    was_training = encoder.training
    try:
        with torch.no_grad():
            maps = encoder.eval().maps(torch.zeros(1, encoder.channels, *size))
    except FAILED as error:
        raise UsageError(_without_maps(method, name, error, ways)) from error
    finally:
        encoder.train(was_training)
    if any(x.ndim != 4 or x.shape[2] * size[1] != x.shape[3] * size[0] for x in maps):
        raise UsageError(
            f"{method} masks maps (N, C, height, width) of the images' proportions, which '{name}' does not "
            f"give; {ways}"
        )
    cells = maps[-1].shape[2], maps[-1].shape[3]
    stride = 2 ** round(math.log2(size[0] / cells[0]))
    if min(cells) < 2 or (stride * cells[0], stride * cells[1]) != size:
        fitting = [max(2, round(side / stride)) * stride for side in size]
        if tuple(fitting) == size:
            raise UsageError(
                f"{method} hides cells of a power of two pixels a side, and a place of the last map of "
                f"'{name}' has {size[0] / cells[0]:.3g}; {ways}"
            )
        raise UsageError(
            f"{method} hides cells of {stride} px, each a place of the last map of '{name}', and images of "
            f"{in_words(size)} are not made of two or more a side; take data.image_size={compact(fitting)}"
        )
    try:
        leaking = leaks(encoder.model, size, cells, encoder.channels)
    except FAILED as error:
        raise UsageError(_without_maps(method, name, error, ways)) from error
    if leaking:
        raise UsageError(
            f"{method} hides parts of images, and operations of '{name}' see them all the same, "
            f"as a trial shows; {ways}"
        )
    return [(x.shape[1], x.shape[2], x.shape[3]) for x in maps]


def _without_maps(method: str, name: str, error: Exception, ways: str) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{method} masks the maps of a network, and those of '{name}' cannot be masked ({reason}); {ways}"


def require_heads(where: str, settings: Mapping[str, int]) -> None:
    """Raise a UsageError unless a transformer of this ``width`` can have so many ``heads``.

    They share the width out evenly; sine-cosine positions share it out among four.

    >>> require_heads("method.decoder", {"width": 96, "heads": 3})
    """
    width, heads = settings["width"], settings["heads"]
    if width % 4:
        raise UsageError(f"{where}.width is {width}; it has to be a multiple of 4, for its positions")
    if width % heads:
        fitting = [number for number in range(1, width + 1) if width % number == 0]
        nearest = min(fitting, key=lambda number: abs(number - heads))
        raise UsageError(
            f"{where}.heads is {heads}, which does not divide {where}.width={width}; take {nearest} heads"
        )
