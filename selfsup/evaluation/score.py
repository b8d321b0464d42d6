"""What a protocol returns."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from selfsup.evaluation.intervals import wilson

NOTHING_SELECTED = "none: nothing is selected"


@dataclass
class Score:
    """A number with its evidence; ``value`` is None if ``reason`` says why there is none.

    Attributes:
        value: an accuracy from 0 to 1, or any number.
        interval: 95 %, or None.
        split: the split on which settings were selected; never the test split.
        settings: everything the number depends on, including selected values; plain JSON types.
        seed: of random draws.
        citation: the protocol's source.
        flags: sentences that qualify the value.
        reason: a sentence, if there is no value.
        n_train, n_test: samples used; None stands for all.
        accuracy: whether the value is a share of the test samples, which a table shows in percent.
        top: the largest value there could be, if there is one.
        higher_is_better: None if neither direction is better.
        correct: bool ``(M,)``, which test samples were answered rightly, so that encoders can be
            compared sample by sample.
        title: heading of the table's column; default the name.
        shown: whether the table has a column for it.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None
    split: str = NOTHING_SELECTED
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    citation: str | None = None
    flags: list[str] = field(default_factory=list)
    reason: str | None = None
    n_train: int | None = None
    n_test: int | None = None
    accuracy: bool = False
    top: float | None = None
    higher_is_better: bool | None = True
    correct: Tensor | None = None
    title: str | None = None
    shown: bool = True


def accuracy(predictions: Tensor, truth: Tensor, **particulars: Any) -> Score:
    """The share of ``predictions`` ``(M,)`` that equal ``truth`` ``(M,)``, with Wilson's interval.

    Example:
        >>> score = accuracy(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1]), seed=3)
        >>> score.value, score.seed
        (0.75, 3)
    """
    correct = predictions == truth
    hits = int(correct.sum())
    return Score(
        value=hits / len(truth),
        interval=wilson(hits, len(truth)),
        accuracy=True,
        correct=correct,
        **particulars,
    )


def absent(labels: Tensor, truth: Tensor) -> list[str]:
    """A flag if classes of the test samples ``truth`` ``(M,)`` are not among the ``labels`` ``(N,)``."""
    count = int((~torch.isin(truth, labels)).sum())
    if not count:
        return []
    return [f"{count} of {len(truth)} test samples count as wrong, as their classes are absent from training"]


def edge(chosen: float, tried: Mapping[float, float], what: str) -> list[str]:
    """A flag if the largest of several settings was chosen, so that a larger one may be better.

    Args:
        chosen: the setting.
        tried: the score of each; if others score as much as the chosen one, there is no flag.
        what: the setting's superlative, such as "strongest penalty".
    """
    equals = sum(score == tried[chosen] for score in tried.values())
    if len(tried) == 1 or chosen != max(tried) or equals > 1:
        return []
    return [f"the {what} tried, {chosen:g}, was best; one beyond it may be better"]


def pack(correct: Tensor) -> str:
    """Bools ``(M,)`` as text, six to a character, for a JSON file; :func:`unpack` reads them.

    Example:
        >>> unpack(pack(torch.tensor([True, False, True])), 3)
        tensor([ True, False,  True])
    """
    import numpy as np

    return base64.b64encode(np.packbits(correct.cpu().numpy()).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> Tensor:
    """The ``count`` bools of :func:`pack`.

    Raises:
        ValueError: the text is of another count, or not such a text.
    """
    import numpy as np

    packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(packed) != -(-count // 8):
        raise ValueError(f"{len(packed)} bytes are not {count} answers")
    bits = np.unpackbits(packed, count=count)
    return torch.from_numpy(bits.astype(bool))
