"""The choice of views for the scores that compare views."""

from collections.abc import Iterable, Mapping
from typing import Any

from selfsup.config import load_config
from selfsup.evaluation.registry import Protocol
from selfsup.views import view_kinds

FALLBACK = "simclr"
Kinds = Mapping[str, Mapping[str, Any]]


def choose_views(
    chosen: Iterable[Protocol], encoders: Mapping[str, Any], data: Mapping[str, Any], colours: bool = True
) -> None:
    """Fill in, in place, the plan of views of protocols whose configuration leaves it open.

    It is the plan of the encoders' training, from their cards, if they share one, else SimCLR's for this
    data: all rows of a table see the same views. So is filled in whether turned images mean the ``same``.

    Args:
        colours: whether three channels are red, green and blue.

    Raises:
        UsageError: ``data`` lacks settings of SimCLR's views.
    """
    for protocol in chosen:
        for spec in protocol.needs.values():
            if "plan" in spec and spec["plan"] is None:
                spec["plan"] = trained_with(encoders.values()) or fallback(data)
            if "plan" in spec and not colours:
                spec["colours"] = False
            if "same" in spec and spec["same"] is None:
                spec["same"] = bool(data.get("turns", False))


def trained_with(encoders: Iterable[Any]) -> Kinds | None:
    """The kinds of views in the encoders' cards, if they agree."""
    plans = [view_kinds(encoder.card.get("config", {}).get("views") or {}) for encoder in encoders]
    return plans[0] if plans and all(plan and plan == plans[0] for plan in plans) else None


def fallback(data: Mapping[str, Any]) -> Kinds:
    """SimCLR's kinds of views for the data's configuration."""
    return view_kinds(load_config("train", [f"views={FALLBACK}"], data)["views"])
