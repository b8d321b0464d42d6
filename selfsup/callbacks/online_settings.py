"""The settings of the evaluation while training, checked without importing torch."""

from collections.abc import Mapping
from typing import Any

from selfsup.data.settings import positives_of
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


def check_held_out(config: Mapping[str, Any]) -> None:
    """Raise a UsageError where ``online.held_out`` images have no loss, or would never be looked at."""
    online, method, batch = config["online"], config["method"], config["batch_size"]
    held = online["held_out"]
    if not held:
        return
    if online["every_epochs"] is None and online["every_steps"] is None:
        raise UsageError(
            "online.held_out images are looked at every few epochs or steps; set online.every_epochs"
        )
    if "samples" in method["requires"]:
        raise UsageError(
            f"method={method['name']} tells each training image from the others, so an image that is not "
            "learned from has no loss; leave online.held_out out"
        )
    if (relation := positives_of(config)) != "none":
        raise UsageError(
            f"positives={relation} says which training images belong together, and nothing of those that are "
            "held out; leave online.held_out or positives out"
        )
    if config["data"]["name"] == "stages":
        raise UsageError("data=stages learns from one data set after another; leave online.held_out out")
    if held % batch:
        raise UsageError(
            f"a loss compares the images of a batch, so online.held_out has to be a multiple of batch_size="
            f"{batch}, such as {batch * -(-held // batch)}, not {held}"
        )


def require_shares(held: int, batch: int) -> None:
    """Raise a UsageError unless held-out images are whole batches ``batch`` of all processes."""
    if held % batch:
        raise UsageError(
            f"the processes of this run share batches of {batch} images, so online.held_out has to be a "
            f"multiple of that, such as {batch * -(-held // batch)}, not {held}"
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
