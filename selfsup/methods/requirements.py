"""What a method needs of its views, encoder and settings, refused in a sentence where it is not there."""

from collections.abc import Mapping

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
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


def require_full_size(plan: ViewPlan, encoder: Encoder, method: str) -> None:
    """Raise a UsageError unless every view has the encoder's input size."""
    if set(plan.sizes) != {encoder.input_size}:
        raise UsageError(
            f"{method} masks views of {encoder.input_size} px and the plan has {sorted(set(plan.sizes))}; "
            f"take views={method}"
        )


def require_queue(size: int, rows: int) -> None:
    """Raise a UsageError unless a queue of ``size`` holds all ``rows`` that a step adds to it."""
    if size < rows:
        raise UsageError(
            f"method.queue is {size} and a step adds {rows} embeddings, of which the rest would be lost; "
            f"take method.queue={max(rows, 4096)}, or a smaller batch"
        )


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
