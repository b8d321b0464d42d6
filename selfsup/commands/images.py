"""An encoder and the images that it is to read, for the commands that encode a whole data set."""

from collections.abc import Mapping
from typing import Any

from selfsup.commands.devices import find_device
from selfsup.data import Source
from selfsup.data.load import chosen_ranged
from selfsup.encoder import Encoder, load_encoder
from selfsup.evaluation.features.ranges import differing, with_channels
from selfsup.processes import launched
from selfsup.text import shown


def opened(
    config: Mapping[str, Any], name: str | None, data: Mapping[str, Any] | None = None, local_rank: int = 0
) -> tuple[Encoder | None, Source, Source]:
    """The encoder of that name on its device, and the training and test images with its channels and range.

    What was decided about the images is printed, by the first of several processes.

    Args:
        config: of the command: ``device``, ``data``, ``encoder`` and ``overrides`` are read.
        name: of :func:`selfsup.commands.encoders.find_encoder`; None for no encoder.
        data: instead of ``config["data"]``.
        local_rank: of several processes on a machine this one's number.

    Raises:
        UsageError: the encoder or the images cannot be read, or do not fit each other.
    """
    data = config["data"] if data is None else data
    if name is None:
        train, test = chosen_ranged(data, None)
        tell(train)
        return None, train, test
    encoder = load_encoder(name).to(find_device(config["device"], local_rank))
    named = {str(config["encoder"]): encoder}
    train, test = chosen_ranged(with_channels(data, named, config["overrides"]), encoder.range)
    tell(train)
    if launched().rank == 0:
        for note in differing(named, train.range):
            print(note)
    return encoder, train, test


def tell(source: Source) -> None:
    """Print what was decided about the data, in the first of several processes."""
    if launched().rank == 0:
        for line in source.decisions.lines():
            print(line)


def tell_skipped(skipped: list[tuple[str, str]]) -> None:
    """List the first unreadable images, and count the others."""
    for name, reason in skipped[:10]:
        print(f"skipped '{shown(name)}': {shown(reason)}")
    if len(skipped) > 10:
        print(f"and {len(skipped) - 10} more images skipped")
