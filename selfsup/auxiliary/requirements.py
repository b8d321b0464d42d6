"""What an auxiliary loss requires of the views, refused in a sentence where it is not so."""

from collections.abc import Mapping
from typing import Any

from selfsup.errors import UsageError
from selfsup.views import view_kinds


def require_turns(name: str, turn: str, config: Mapping[str, Any]) -> None:
    """Raise a UsageError unless all views are turned in one way, and the data have an upright.

    Args:
        name: of the auxiliary loss.
        turn: as in the views' settings, whole or quadrant.
        config: of a training run.
    """
    if config["data"].get("turns"):
        raise UsageError(
            f"auxiliary={name} learns how images were turned, and data.turns=true says that turned ones mean "
            f"the same; leave auxiliary={name} out"
        )
    kinds = {
        kind: view.get("turn", "none") for kind, view in view_kinds(config["views"]).items() if view["count"]
    }
    if wrong := [kind for kind, how in kinds.items() if how != turn]:
        missing = " ".join(f"views.{kind}.turn={turn}" for kind in wrong)
        raise UsageError(
            f"auxiliary={name} learns of views with turn={turn}, which not all have; add {missing}"
        )
