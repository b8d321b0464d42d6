"""The effective rank of the training split's features, as they are and centred."""

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features
from selfsup.evaluation.registry import Positive, named
from selfsup.evaluation.score import Score
from selfsup.evaluation.spectra import rankme, too_few


@named(lambda **settings: ["rankme", "rankme-centred"])
def score(train: Features, test: Features, *, eps: Positive) -> dict[str, Score]:
    """``rankme`` as in the paper, and ``rankme-centred``, which a large common component cannot hide."""
    return {
        "rankme": _one(train, eps, centre=False),
        "rankme-centred": _one(train, eps, centre=True),
    }


def _one(train: Features, eps: float, centre: bool) -> Score:
    width = train.x.shape[1]
    settings = {"eps": eps, "centre": centre, "width": width}
    about = Score(settings=settings, citation="Garrido et al. 2023, arXiv:2210.02885", title="RankMe")
    about.n_test, about.top, about.shown = 0, float(width), not centre
    try:
        about.value = rankme(train.x, centre, eps)
    except NoScore as why:
        about.reason = str(why)
    few = too_few(train.x)
    about.flags = [] if few is None else [few]
    return about
