"""The settings of the evaluation while training, checked without importing torch."""

from collections.abc import Mapping
from typing import Any

from selfsup.data.settings import positives_of
from selfsup.errors import UsageError
from selfsup.evidence import BEST, HELD_OUT, STOP, Evidence, evidence
from selfsup.precision import require_precision

# Scores that can choose an encoder, or end a run; selfsup.evidence.goodness says which way is better.
SELECTING = (
    "knn",
    "rankme",
    "rankme-centred",
    "alpha-req",
    "nesum",
    "participation-ratio",
    "stable-rank",
    HELD_OUT,
)
_SETTINGS = {BEST: "online.best", STOP: "trainer.stop"}


def check_online(config: Mapping[str, Any]) -> None:
    """Raise a UsageError for an unknown precision or score, or a stop that nothing would bring about."""
    online, stop = config["online"], config["trainer"]["stop"]
    require_precision("online.precision", online["precision"])
    for use, given in ((BEST, online["best"]), (STOP, stop)):
        if given not in (None, "auto", *SELECTING):
            raise UsageError(
                f"{_SETTINGS[use]}: no score '{given}' to choose by; take auto, null or one of "
                f"{', '.join(SELECTING)}"
            )
        if given == HELD_OUT and not online["held_out"]:
            raise UsageError(
                f"{_SETTINGS[use]}={HELD_OUT} needs images that are not learned from; set online.held_out"
            )
    if stop is not None and online["every_epochs"] is None and online["every_steps"] is None:
        raise UsageError(
            f"trainer.stop={stop} ends a run by what the evaluation while training finds, which online=none "
            "leaves out; give online.every_epochs or online.every_steps"
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


def choice(given: str | None, use: str, method: str, labels: bool) -> tuple[str | None, str | None]:
    """The score that keeps an encoder or ends a run, and a sentence that says why, if ``auto`` chose it.

    With labels ``auto`` keeps the encoder of the best kNN. Without, it takes the score that lost little in
    measured runs of the method (:mod:`selfsup.evidence`).

    Args:
        given: the setting: a score, ``auto`` or None.
        use: ``BEST`` or ``STOP``.

    Raises:
        UsageError: the score needs labels, and there are none; or ``auto`` is to end a run, and nothing is
            known to do that well.
    """
    setting = _SETTINGS[use]
    if given == "knn" and not labels:
        raise UsageError(f"{setting}=knn needs labels, and the images have none; take {setting}=rankme")
    if given != "auto":
        return given, None
    if use == BEST and labels:
        return "knn", None
    known = evidence(method, use, labels and use == STOP)
    if known is not None and known.holds:
        return known.score, f"{setting}=auto goes by {known}"
    why = _unknown(known, method)
    if use == STOP:
        raise UsageError(f"trainer.stop=auto has nothing to go by: {why}; leave it out, or name a score")
    return None, f"online.best=auto keeps the last encoder alone: {why}"


def _unknown(known: Evidence | None, method: str) -> str:
    if known is None:
        return f"no score without labels was tried on runs of {method}"
    return f"the best of the scores is {known}"
