"""What is known of an optimizer step only when all its micro-batches have been seen."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor


class StepMeans:
    """Means over the micro-batches of one optimizer step, by name.

    Whatever a method moves once a step (a centre, a queue) it collects here in ``loss`` and applies in
    ``after_step``: a loss that changes its own state would move it once a micro-batch, in steps that are
    skipped, and wherever somebody only looks at the loss. The micro-batches of a step are of one size, so
    that the mean of their means is that of the step's samples.

    Example:
        >>> means = StepMeans()
        >>> means.add(loss=1.0)
        >>> means.add(loss=2.0)
        >>> means["loss"]
        1.5
    """

    def __init__(self) -> None:
        self._means: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor | float) -> None:
        """Values of one micro-batch; no gradient is kept."""
        for name, value in values.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._counts[name] = count = self._counts.get(name, 0) + 1
            if count > 1:  # in a form in which the mean of equal values is exactly that value
                value = self._means[name] + (value - self._means[name]) / count
            self._means[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._means

    def __getitem__(self, name: str) -> Any:
        return self._means[name]

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        """Several of the means."""
        return {name: self[name] for name in names}

    def clear(self) -> None:
        """Begin the next step."""
        self._means.clear()
        self._counts.clear()
