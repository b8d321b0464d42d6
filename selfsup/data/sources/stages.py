"""Several sources, learned from one after another."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from selfsup.data.compose import concat
from selfsup.data.decisions import joined
from selfsup.data.load import chosen
from selfsup.data.settings import source_configs
from selfsup.data.source import Source
from selfsup.data.stage_order import Stage
from selfsup.errors import UsageError


def stages(sources: Mapping[str, Mapping[str, Any]]) -> tuple[Source, Source]:
    """Training images of several sources, one source after another, and all their test images.

    The order in which they are named is that of learning. There are labels if every source has some; classes
    of one name are one.

    Args:
        sources: for each name of a data configuration (`configs/data/`), its ``epochs``, and settings that
            differ from that configuration's, such as ``root`` or ``train``. Under another name, ``data`` says
            which configuration is meant.

    Raises:
        UsageError: if there are fewer than two sources, epochs are missing or not above 0, or a source cannot
            be read.
    """
    configs = source_configs(sources, "stages", "epochs")
    for name, settings in sources.items():
        if type(settings["epochs"]) is not int or settings["epochs"] < 1:
            raise UsageError(
                f"data.sources.{name}.epochs has to be a whole number from 1, not {settings['epochs']}"
            )
    trains, tests = zip(*map(chosen, configs), strict=True)
    train, test = concat(trains), concat(tests)
    train.decisions = joined([each.decisions for each in trains], list(sources))
    for source, parts in ((train, trains), (test, tests)):
        starts = accumulate(map(len, parts), initial=0)
        source.stages = [
            Stage(name, start, len(part), sources[name]["epochs"])
            for name, start, part in zip(sources, starts, parts, strict=False)
        ]
    return train, test
