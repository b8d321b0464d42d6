"""The rotation probe: a labelled task for any image, which way up it is."""

from selfsup.evaluation.features import Features
from selfsup.evaluation.rotation import rotation
from selfsup.evaluation.score import Score


def score(train: Features, test: Features, *, seed: int) -> Score:
    """:func:`selfsup.evaluation.rotation` of training images, split by image."""
    found = rotation(train.parts["turns"].x.transpose(0, 1), seed)
    return Score(
        value=found.accuracy,
        interval=found.interval,
        split=f"{found.judged} further training images, neither fitted nor judged",
        settings={"strength": found.strength},
        seed=seed,
        citation="Reed et al. 2021, arXiv:2009.07724",
        n_train=found.fitted,
        n_test=found.judged,
        accuracy=True,
    )
