"""The range of values of an encoder's images: its own, unless another is set."""

from collections.abc import Mapping
from typing import Any

from selfsup.data.readers.values import Range, in_words, range_of
from selfsup.encoder import Encoder
from selfsup.errors import UsageError


def range_for(encoders: Mapping[str, Encoder], setting: Any) -> Range | str | None:
    """``data.range`` for some encoders: the ``setting``, or, if that is null, the range of their training.

    Raises:
        UsageError: it is null and they were trained with different ranges.
    """
    if (given := range_of(setting)) is not None:
        return given
    first = next(iter(encoders))
    for name, each in encoders.items():
        if each.range != encoders[first].range:
            raise UsageError(
                f"'{first}' was trained with {_called(encoders[first].range)} and '{name}' with "
                f"{_called(each.range)}; judge them apart, or on the same pixels with data.range=[low,high]"
            )
    return encoders[first].range


def differing(encoders: Mapping[str, Encoder], range: Range | None) -> list[str]:
    """A sentence for each encoder of ours that was trained with another range."""
    return [
        f"'{name}' was trained with {_called(each.range)}, and is given images with {_called(range)}"
        for name, each in encoders.items()
        if each.range != range and (each.card or each.range)
    ]


def _called(range: Range | None) -> str:
    return "no data.range" if range is None else f"data.range={in_words(range)}"
