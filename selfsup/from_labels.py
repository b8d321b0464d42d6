"""What learns from labels, as tables, cards and reports say: read off the configurations, listed nowhere."""

from collections.abc import Mapping
from typing import Any

import yaml

from selfsup.config import config_root


def learns_from_labels(group: str, option: str) -> bool:
    """Whether a configuration requires labels, or pairs that somebody named, which lists of choices say.

    >>> learns_from_labels("method", "supervised"), learns_from_labels("method", "simclr")
    (True, False)
    """
    if group == "positives":
        return option != "none"
    text = (config_root() / group / f"{option}.yaml").read_text(encoding="utf-8")
    return "labels" in (yaml.safe_load(text).get("requires") or ())


def labels_used_by(config: Mapping[str, Any]) -> list[str]:
    """What of a training configuration learns from labels, or pairs that somebody named, as settings.

    The card of the encoder says so.

    Args:
        config: a resolved one, perhaps of an older version, which had fewer groups.

    >>> from selfsup.config import load_config
    >>> labels_used_by(load_config("train", ["method=supcon", "data.balanced=true"]))
    ['method=supcon', 'data.balanced=true']
    """
    method, data, positives = (config.get(group) or {} for group in ("method", "data", "positives"))
    losses = {f"method={method.get('name')}": method}
    losses |= {f"auxiliary={name}": settings for name, settings in config.get("auxiliary", {}).items()}
    used = [name for name, settings in losses.items() if "labels" in settings.get("requires", ())]
    further = {
        f"positives={positives.get('name')}": positives.get("name", "none") != "none",
        "data.pairs": data.get("pairs") is not None,
        "data.balanced=true": data.get("balanced"),
    }
    return [*used, *(name for name, given in further.items() if given)]
