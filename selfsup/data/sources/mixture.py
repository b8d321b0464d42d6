"""Several sources, mixed by weight."""

from collections.abc import Mapping
from typing import Any

from selfsup.data.compose import concat, mix
from selfsup.data.decisions import joined
from selfsup.data.load import chosen
from selfsup.data.settings import source_configs
from selfsup.data.source import Source


def mixture(sources: Mapping[str, Mapping[str, Any]]) -> tuple[Source, Source]:
    """Training images of several sources in proportion to their weights, and all their test images.

    An epoch sees every image: that of the source that is largest for its weight once, others more often
    (`selfsup.data.compose.mix`). There are labels if every source has some; classes of one name are one.

    Args:
        sources: for each name of a data configuration (`configs/data/`), its ``weight``, and settings that
            differ from that configuration's, such as ``root`` or ``train``. Under another name, ``data`` says
            which configuration is meant.

    Raises:
        UsageError: if there are no sources, a weight is missing or not above 0, or a source cannot be read.
    """
    names = list(sources)
    splits = [chosen(config) for config in source_configs(sources, "a mixture", "weight")]
    train = mix([train for train, _ in splits], [sources[name]["weight"] for name in names], names)
    train.decisions = joined([train.decisions for train, _ in splits], names)
    return train, concat([test for _, test in splits])
