"""The range of values of an encoder's images: its own, unless another is set."""

from collections.abc import Iterable, Mapping
from typing import Any

from selfsup.data.readers.values import Range, in_words, range_of
from selfsup.encoder import Encoder
from selfsup.errors import UsageError


def with_channels(
    data: Mapping[str, Any], encoders: Mapping[str, Encoder], typed: Iterable[str] = ()
) -> dict[str, Any]:
    """A data configuration with as many channels as the encoders take.

    Args:
        typed: the command's ``key=value``.

    Raises:
        UsageError: they differ, or the command sets another number.
    """
    counts = {name: each.channels for name, each in encoders.items()}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        if other != count:
            raise UsageError(
                f"'{first}' takes images of {count} channels and '{name}' of {other}; judge them apart"
            )
    if data.get("channels", count) != count and any(each.startswith("data.channels=") for each in typed):
        raise UsageError(
            f"'{first}' takes images of {count} channels; leave data.channels={data['channels']} out"
        )
    return {**data, "channels": count}


def range_for(encoders: Mapping[str, Encoder], setting: Any) -> Range | str | None:
    """``data.range`` for some encoders: the ``setting``, or, if that is null, the range of their training.

    Raises:
        UsageError: it is null and they were trained with different ranges.
    """
    first = next(iter(encoders))
    if (given := range_of(setting, channels=encoders[first].channels)) is not None:
        return given  # type: ignore[no-any-return]
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
