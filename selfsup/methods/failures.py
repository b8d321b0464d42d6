"""Failures that the collapse guard watches for, as data: signals, bounds, patience, message and remedy.

A failure applies to a method if the method gives all signals it names. :data:`COMMON` holds those of every
method; a method lists further ones (:attr:`selfsup.methods.base.Method.failures`), some of which are here
because several methods share them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Bound:
    """A signal beyond a value.

    Attributes:
        signal: its name in :data:`~selfsup.callbacks.guard.signals.SIGNALS`.
        below, above: it is beyond if it is less than the one or more than the other.
        of_start: the values are multiples of the signal at step 0.

    >>> Bound("update", above=0.5).holds({"update": 0.6}, {})
    True
    """

    signal: str
    below: float = -math.inf
    above: float = math.inf
    of_start: bool = False

    def holds(self, signals: Mapping[str, float], start: Mapping[str, float], slack: float = 0.0) -> bool:
        """Whether the signal is beyond, or would be if the bound were ``slack`` (a share) more generous."""
        unit = start.get(self.signal, math.nan) if self.of_start else 1.0
        value = signals.get(self.signal, math.nan) / unit if unit else math.nan
        return value < self.below + abs(self.below) * slack or value > self.above - abs(self.above) * slack


@dataclass(frozen=True)
class Failure:
    """What is wrong with a run if all of some bounds hold for a while.

    Attributes:
        name: what it is called in ``warnings.csv``.
        bounds: all have to hold.
        message: what is said; signals, the loss's marks and ``since`` (a step) in braces.
        remedy: what to do.
        patience: looks in a row that it takes to be named, and to be over.
        from_step: looks before this step do not count.
        until_share: looks after this share of the run do not count.
    """

    name: str
    bounds: tuple[Bound, ...]
    message: str
    remedy: str
    patience: int = 2
    from_step: int = 2  # at step 1 the signals are those of the untrained model
    until_share: float = 1.0

    def applies(self, signals: Mapping[str, float]) -> bool:
        """Whether all signals it needs are there."""
        return all(bound.signal in signals for bound in self.bounds)

    def holds(
        self,
        step: int,
        share: float,
        signals: Mapping[str, float],
        start: Mapping[str, float],
        slack: float = 0.0,
    ) -> bool:
        """Whether all bounds hold at a step, which is at a ``share`` of the run."""
        counts = step >= self.from_step and share <= self.until_share
        return counts and all(bound.holds(signals, start, slack) for bound in self.bounds)


COMMON = (
    Failure(
        "collapsed embedding",
        (Bound("embedding_std", below=0.2), Bound("embedding_cosine", above=0.9)),
        "all embeddings point the same way (std x sqrt(D) {embedding_std:.2g}, mean cosine "
        "{embedding_cosine:.3f}) since step {since}",
        "give the objective a term that keeps them apart (variance, negatives, centring), or check that the "
        "targets get no gradient",
    ),
    Failure(
        "collapsed backbone",
        (Bound("backbone_std", below=0.3, of_start=True),),
        "the backbone's features of different images have become alike (std x sqrt(D) {backbone_std:.2g}) "
        "since step {since}",
        "lower the learning rate, or check that the targets get no gradient",
    ),
    Failure(
        "shrunken backbone",
        (Bound("backbone_rankme_centred", below=0.4, of_start=True),),
        "the backbone's features have shrunk to {backbone_rankme_centred:.1f} dimensions since step {since}",
        "lower the learning rate, or slow the teacher down by method.momentum.start if there is one",
    ),
    Failure(
        "learning rate too high",
        (Bound("update", above=0.015),),  # small networks learn well by steps of 1.2 %
        "each step moves the encoder's weights by {update:.1%} of their length since step {since}",
        "lower method.optimizer.lr",
        patience=1,
    ),
    Failure(
        "gradient jump",
        (Bound("gradient_jump", above=10.0),),
        "the gradient is {gradient_jump:.0f} times its median since step {since}",
        "lower method.optimizer.lr, or clip by method.optimizer.clip",
    ),
)

# Without batch norm in the projector, the embeddings of an untrained network are all alike.
COLLAPSED_LATER = replace(COMMON[0], from_step=100)

TEACHER = Failure(
    "teacher follows the student",
    (Bound("teacher_lag", below=2.0),),
    "the teacher is only {teacher_lag:.1f} steps behind the student since step {since}",
    "raise method.momentum.start",
)

SAME_VIEW = Failure(
    "same view twice",
    (Bound("views_difference", below=0.02),),
    "an image's two views are the same picture",
    "widen views.*.scale, or raise the probabilities of the colour changes",
)

DIMENSIONS = Failure(
    "dimensional collapse",
    # Barlow Twins that learns well from CIFAR-10 gets down to 0.32 of the start, and recovers.
    (Bound("embedding_rankme_centred", below=0.3, of_start=True),),
    "the embeddings have shrunk to {embedding_rankme_centred:.1f} dimensions since step {since}",
    "give the term that keeps dimensions apart more weight, or lower the learning rate",
    patience=1,
)

SHRUNKEN = Failure(  # in the place of the common one, which is about directions
    "collapsed embedding",
    (Bound("embedding_scale", below=0.3, of_start=True),),
    "the embeddings have shrunk to a standard deviation of {embedding_scale:.2g} since step {since}",
    "give the variance term more weight",
)

TRIVIAL = Failure(
    "nothing learned",
    (Bound("loss_trivial", above=0.98), Bound("loss_trivial", below=1.02)),
    "the loss stays at {loss:.4g}, its value when all embeddings are equal, since step {since}",
    "lower method.optimizer.lr, or check the objective's terms",
    from_step=100,
)

FLOOR = Failure(
    "below the floor",
    (Bound("loss_floor", below=0.98),),
    "the loss, {loss:.4g}, is below the lower bound of its objective since step {since}",
    "check the objective: it is not what its settings say",
)


def few_dimensions(of: str, classes: int) -> Failure:
    """Fewer dimensions than classes need, in a method with labels, in the place of those of few alone.

    Samples gathered by class, as such a method means them to be, have as many as there are classes, less one.

    Args:
        of: ``backbone`` or ``embedding``.
    """
    usual = {"backbone": COMMON[2], "embedding": DIMENSIONS}[of]
    needed = Bound(f"{of}_rankme_centred", below=0.4 * (classes - 1))
    return replace(usual, bounds=(*usual.bounds, needed))


UNIFORM_TEACHER = Failure(
    "uniform teacher",
    (Bound("teacher_entropy", above=0.99),),
    "teacher output is uniform: loss is ln K = {trivial:.3f} since step {since}",
    "lower method.teacher_temperature, or raise method.momentum.start",
)

ONE_PROTOTYPE = Failure(
    "one prototype",
    (Bound("teacher_prototypes", below=8.0),),
    "the teacher gives all images the same {teacher_prototypes:.1f} prototypes since step {since}",
    "centre its outputs (method.center_momentum below 1, or method.centering=sinkhorn), or raise "
    "method.teacher_temperature",
)

ONE_COLOUR = Failure(
    "one colour",
    (Bound("one_colour", above=0.97),),
    "hidden patches are painted no better than in one colour ({one_colour:.2f} of that error) since step "
    "{since}",
    "raise method.optimizer.lr, or hide less",
    patience=4,
    from_step=150,
)


def failures_of(own: tuple[Failure, ...] = ()) -> tuple[Failure, ...]:
    """All failures of a method with these of its own, which stand in for common ones of the same name."""
    return tuple({failure.name: failure for failure in (*COMMON, *own)}.values())
