"""The scores of one spectrum of the training split's features."""

from selfsup.evaluation.features import Features
from selfsup.evaluation.registry import Positive, named
from selfsup.evaluation.score import Score
from selfsup.evaluation.spectra import alpha_req, no_power_law, panel, rounded, spectrum, too_few

# By score: heading, source, whether it is bounded by the width, whether the table shows it.
ABOUT = {
    "rankme": ("RankMe", "Garrido et al. 2023, arXiv:2210.02885", True, True),
    "rankme-centred": ("RankMe, centred", "Garrido et al. 2023, arXiv:2210.02885", True, False),
    "alpha-req": ("alpha-ReQ", "Agrawal et al. 2022, NeurIPS", False, True),
    "nesum": ("NESum", "He and Ozay 2022, ICML", False, False),
    "participation-ratio": ("PR", "Gao et al. 2017, bioRxiv 214262", False, True),
    "stable-rank": ("stable rank", "Rudelson and Vershynin 2007, arXiv:math/0503442", False, False),
}


@named(lambda **settings: list(ABOUT))
def score(train: Features, test: Features, *, eps: Positive) -> dict[str, Score]:
    """Each score of :func:`selfsup.evaluation.panel`, with its flags."""
    shared, width = spectrum(train.x), train.x.shape[1]
    flags = [flag for flag in (too_few(train.x), rounded(train.x)) if flag]
    scores = {}
    for name, value in panel(shared, eps).items():
        title, citation, of_width, shown = ABOUT[name]
        scores[name] = Score(
            value=None if isinstance(value, str) else value,
            reason=value if isinstance(value, str) else None,
            settings={"width": width} | ({"eps": eps} if of_width else {}),
            citation=citation,
            flags=list(flags),
            n_test=0,
            top=float(width) if of_width else None,
            higher_is_better=None if name == "alpha-req" else True,
            title=title,
            shown=shown,
        )
    if scores["alpha-req"].value is not None:
        fit = alpha_req(shared)
        scores["alpha-req"].settings |= {"r2": fit.r2, "first": fit.first, "last": fit.last}
        scores["alpha-req"].flags += [flag for flag in [no_power_law(fit)] if flag]
    return scores
