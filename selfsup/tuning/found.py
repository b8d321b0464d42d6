"""What a search found: the best trial beside the first, and a file of its settings for ``experiment=``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from selfsup.config import INSIDE, config_root
from selfsup.evidence import goodness
from selfsup.experiments import GROUP
from selfsup.tuning.scores import SCORES
from selfsup.tuning.study import Trial

# Settings of tune that train does not have, or that the found settings should not fix.
OWN = ("score", "trials", "minutes", "length", "held", "processes", "out", "traceback", "space")
CURSE = (
    "The score of the best trial is not an estimate: the best of many noisy trials looks better than it is. "
    "Train it with a fresh seed beside the settings as they are, and judge both on the test images."
)


class Found(NamedTuple):
    """The outcome of a search so far.

    Attributes:
        first: with the settings as they are.
        best: of the largest worth, and ``first`` if it is not worse.
        gain: of the score, best less first, and its 95 % interval or None.
        sure: whether the gain's interval is on the better side.
    """

    first: Trial
    best: Trial
    gain: float
    interval: tuple[float, float] | None
    sure: bool


def found(trials: Sequence[Trial], score: str) -> Found | None:
    """The best trial; None if there is no score of the first.

    The interval of the gain is paired over the held images where the trials say which they told rightly (the
    rotation probe); it takes the images as independent, though a fifth shares a probe.

    >>> a = Trial(0, "complete", {}, 0.5, [0.4, 0.6], facts={"told": "22222222"})
    >>> b = Trial(1, "complete", {}, 0.7, [0.6, 0.8], facts={"told": "33333322"})
    >>> outcome = found([a, b], "rotation")
    >>> outcome.best.number, round(outcome.gain, 2), outcome.sure
    (1, 0.2, True)
    """
    scored = [each for each in trials if each.state == "complete" and each.value is not None]
    if not scored or scored[0].number != 0:
        return None
    first, best = scored[0], max(scored, key=lambda each: goodness(score, each.value or 0.0))
    gain = (best.value or 0.0) - (first.value or 0.0)
    interval = None if best is first else _paired(first, best)
    return Found(first, best, gain, interval, interval is not None and interval[0] > 0)


def _paired(first: Trial, best: Trial) -> tuple[float, float] | None:
    from selfsup.evaluation.intervals import student

    told = [str(each.facts.get("told", "")) for each in (first, best)]
    if not told[0] or len(told[0]) != len(told[1]):
        return None
    pairs = zip(*told, strict=True)
    return student([(int(b) - int(a)) / 4 for a, b in pairs if a.isdecimal() and b.isdecimal()])


def verdict(outcome: Found, score: str) -> str:
    """One sentence about whether the search found something better."""
    title = SCORES[score].title
    if outcome.best is outcome.first:
        return f"No trial has a better {title} than the settings as they are: keep them"
    gain = f"{outcome.gain:+.3g}"
    if outcome.interval is None:
        return (
            f"Trial {outcome.best.number} has the best {title}, {gain} beside the settings as they are; "
            "as the score has no interval, whether that is more than chance is not known"
        )
    low, high = outcome.interval
    if outcome.sure:
        return (
            f"Trial {outcome.best.number} has a better {title} than the settings as they are: "
            f"{gain} [{low:+.3g}, {high:+.3g}]"
        )
    return (
        f"The best trial, {outcome.best.number}, is not surely better than the settings as they are: "
        f"its {title} differs by {gain} [{low:+.3g}, {high:+.3g}]"
    )


def passed_on(overrides: Iterable[str]) -> list[str]:
    """The overrides of a search that are settings of train."""
    return [each for each in overrides if each.partition("=")[0].partition(".")[0] not in OWN]


def experiment(
    overrides: Iterable[str], config: Mapping[str, Any], settings: Mapping[str, Any], about: Iterable[str]
) -> str:
    """A file for ``experiment=``: what the command of the search set, and what the search found.

    Args:
        overrides: of the command.
        config: what they resolve to.
        settings: that were found, by dotted key.
        about: lines of comment.
    """
    groups = {path.name for path in config_root().iterdir() if path.is_dir()}
    chosen: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for override in passed_on(overrides):
        key, _, value = override.partition("=")
        if key in groups:
            names = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
            chosen[key] = names if value.startswith("[") else value
        elif key != "seed":
            own[key] = _at(config, key)
    first = [chosen.pop(GROUP)] if GROUP in chosen else []
    defaults = [
        *first,
        *({f"override /{INSIDE.get(group, group)}": name} for group, name in chosen.items()),
        "_self_",
    ]
    nested: dict[str, Any] = {"defaults": defaults} if len(defaults) > 1 else {}
    for key, value in {**own, **settings}.items():
        *parents, last = key.split(".")
        inside = nested
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[last] = value
    comments = "".join(f"# {line}\n" for line in about)
    return f"# @package _global_\n{comments}{yaml.safe_dump(nested, sort_keys=False, width=100)}"


def _at(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value
