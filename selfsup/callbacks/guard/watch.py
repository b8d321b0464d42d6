"""From the signals of one look after another to failures that are named once an episode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsup.methods.failures import Failure


@dataclass(frozen=True)
class Warned:
    """A failure that has just been named.

    Attributes:
        step: of the look at which it was.
        name: the failure's.
        value: of the signal that is its first bound.
        message: what is wrong, and what to do.
    """

    step: int
    name: str
    value: float
    message: str


class Watch:
    """Counts the looks in a row at which each failure's bounds hold.

    A failure is named when they have held ``patience`` times in a row, and again only after they have not
    held as many times in a row.

    Args:
        failures: what to look for.
    """

    def __init__(self, failures: Sequence[Failure] = ()) -> None:
        self.failures = failures
        self.start: dict[str, float] = {}
        self.episodes: dict[str, dict[str, Any]] = {}

    def look(
        self, step: int, share: float, signals: Mapping[str, float], marks: Mapping[str, float] | None = None
    ) -> list[Warned]:
        """The failures named at this look.

        Args:
            step: optimizer steps made.
            share: of the run's steps that is.
            signals: their values now. The first look's are those of the untrained model.
            marks: values of the loss that mean something, for the messages.
        """
        if not self.start:
            self.start = dict(signals)
        warned = []
        for failure in self.failures:
            if not failure.applies(signals):
                continue
            held = failure.holds(step, share, signals, self.start)
            episode = self.episodes.get(failure.name, {"since": step, "held": 0, "clear": 0, "named": False})
            if held:
                episode |= {"held": episode["held"] + 1, "clear": 0}
            else:
                episode |= {"held": 0, "clear": episode["clear"] + 1}
                if not episode["named"] or episode["clear"] >= failure.patience:
                    self.episodes.pop(failure.name, None)
                    continue
            self.episodes[failure.name] = episode
            if episode["held"] >= failure.patience and not episode["named"]:
                episode["named"] = True
                text = failure.message.format(**(marks or {}), **signals, since=episode["since"])
                value = signals[failure.bounds[0].signal]
                warned.append(Warned(step, failure.name, value, f"{text}; {failure.remedy}"))
        return warned

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, in plain types."""
        return {"start": dict(self.start), "episodes": {name: dict(e) for name, e in self.episodes.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.start = dict(state["start"])
        self.episodes = {name: dict(episode) for name, episode in state["episodes"].items()}
