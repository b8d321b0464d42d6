"""The settings of the evaluation while training, checked without importing torch."""

from collections.abc import Mapping
from typing import Any

from selfsup.errors import UsageError
from selfsup.precision import require_precision

# Scores for which more is better, so that they can choose an encoder.
SELECTING = ("knn", "rankme", "rankme-centred", "nesum", "participation-ratio", "stable-rank")


def check_online(settings: Mapping[str, Any]) -> None:
    """Raise a UsageError for an unknown precision or score."""
    require_precision("online.precision", settings["precision"])
    if settings["best"] not in (None, "auto", *SELECTING):
        raise UsageError(
            f"online.best: no score '{settings['best']}' to choose by; take auto, null or one of "
            f"{', '.join(SELECTING)}"
        )


def selecting(best: str | None, labels: bool) -> str | None:
    """The name of the score that chooses the encoder that is kept.

    Raises:
        UsageError: it needs labels, and there are none.
    """
    if best == "auto":
        return "knn" if labels else "rankme"
    if best == "knn" and not labels:
        raise UsageError("online.best=knn needs labels, and the images have none; take online.best=rankme")
    return best
