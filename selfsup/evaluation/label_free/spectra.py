"""Scores without labels from the eigenvalues of features' second moment."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.features.moments import Moments
from selfsup.evaluation.label_free.spectrum import Spectrum, spectrum
from selfsup.evaluation.registry import Positive, named
from selfsup.evaluation.score import Score

SAMPLES_PER_DIMENSION = 10
FIRST, LAST = 11, 100  # of the eigenvalues that alpha_req fits
FEWEST = 10  # of them that make a line
STRAIGHT = 0.95  # R² from which a spectrum passes for a power law


def rankme(features: Tensor | Moments | Spectrum, centre: bool = False, eps: float = 1e-7) -> float:
    """RankMe, the effective rank of features (Garrido et al. 2023, arXiv:2210.02885).

    ``exp(-sum_k p_k log p_k)`` with ``p_k = sigma_k / sum_j sigma_j + eps`` over the ``min(N, D)``
    singular values of the matrix, which is neither centred nor renormalised after eps. From 1
    (collapsed) to ``min(N, D)``. Compare only encoders of one method and one width.

    Args:
        features: ``(N, D)``, or their :class:`Moments` or :class:`Spectrum`. Fewer than 10 D samples
            read too low (:func:`too_few`); rounding of half-precision features reads too high where
            they are collapsed.
        centre: subtract the mean first: a large common component would otherwise hide the others.
        eps: the paper's 1e-7.

    Raises:
        NoScore: all singular values are zero, or one is not finite.

    Example:
        >>> round(rankme(torch.eye(8)), 3)
        8.0
    """
    sigma = spectrum(features).singular_values(centre)
    if not sigma[0] > 0:
        raise NoScore(_nothing(centre))
    p = sigma / sigma.sum() + eps
    return float((-(p * p.log()).sum()).exp())


class PowerLaw(NamedTuple):
    """What :func:`alpha_req` found.

    Attributes:
        alpha: the spectrum's exponent.
        r2: share, up to 1, of the logarithms' weighted variance that the line explains.
        first, last: the eigenvalues that were fitted, counted from 1, both included.
    """

    alpha: float
    r2: float
    first: int
    last: int


def alpha_req(features: Tensor | Moments | Spectrum, first: int = FIRST, last: int = LAST) -> PowerLaw:
    """alpha-ReQ, the decay of the covariance's spectrum (Agrawal et al. 2022, NeurIPS).

    ``lambda_k ~ k^-alpha``: minus the slope of ``log lambda_k`` on ``log k``, by least squares weighted
    1/k, which gives every octave of k the same weight. The first eigenvalues, which follow the data's
    few largest factors, are left out, as is the tail, which bends down with too few samples. Near 1 is best;
    far above 1 features are collapsed, far below they resemble noise.

    Args:
        features: ``(N, D)``, or their moments or spectrum.
        first, last: of the eigenvalues to fit, counted from 1; the range ends where eigenvalues do
            or fall below 1e-12 of the largest.

    Raises:
        NoScore: fewer than 10 eigenvalues are left to fit.

    Example:
        >>> axes = torch.diag(torch.arange(1, 201) ** -0.5)
        >>> round(alpha_req(torch.cat([axes, -axes])).alpha, 3)
        1.0
    """
    values = spectrum(features).centred
    rank = int((values > 1e-12 * values[0]).sum())
    if min(last, rank) - first + 1 < FEWEST:
        raise NoScore(
            f"the covariance has {rank} eigenvalues above rounding, and a power law is fitted to "
            f"numbers {first} to {last}, {FEWEST} of them at least"
        )
    last = min(last, rank)
    k = torch.arange(first, last + 1, dtype=torch.float64, device=values.device)
    x, y = k.log(), values[first - 1 : last].log()
    weights = 1 / k / (1 / k).sum()
    x, y = x - weights.dot(x), y - weights.dot(y)
    slope = weights.dot(x * y) / weights.dot(x * x)
    residual, variance = weights.dot((y - slope * x).square()), weights.dot(y.square())
    # Equal eigenvalues lie on a level line, and their only variance is rounding.
    r2 = 1 - residual / variance if variance > 1e-20 else torch.ones(())
    return PowerLaw(-float(slope), float(r2), first, last)


def nesum(features: Tensor | Moments | Spectrum) -> float:
    """NESum, the sum of the covariance's eigenvalues over the largest (He and Ozay 2022, ICML).

    ``sum_k lambda_k / lambda_1``: from 1 to D. It is the stable rank of the centred features.

    Raises:
        NoScore: the features are constant.
    """
    values = _spread(features)
    return float(values.sum() / values[0])


def stable_rank(features: Tensor | Moments | Spectrum) -> float:
    """Stable rank ``||Z||_F² / ||Z||_2²`` of features that are not centred (Rudelson and Vershynin 2007).

    From 1 to ``min(N, D)``; a large mean makes it nearly 1.

    Raises:
        NoScore: all features are zero.
    """
    values = spectrum(features).raw
    if not values[0] > 0:
        raise NoScore(_nothing(centre=False))
    return float(values.sum() / values[0])


def participation_ratio(features: Tensor | Moments | Spectrum) -> float:
    """Participation ratio ``(sum_k lambda_k)² / sum_k lambda_k²`` of the covariance's eigenvalues.

    From 1 to D: the number of dimensions that, sharing the variance equally, would have that ratio
    (Gao et al. 2017, bioRxiv 214262).

    Raises:
        NoScore: the features are constant.
    """
    values = _spread(features)
    return float(values.sum() ** 2 / values.square().sum())


def _spread(features: Tensor | Moments | Spectrum) -> Tensor:
    values = spectrum(features).centred
    if not values[0] > 0:
        raise NoScore(_nothing(centre=True))
    # Their scale cancels, but its square could leave the range.
    return values / values[0]


def _nothing(centre: bool) -> str:
    return (
        "all singular values of the features are zero"
        if not centre
        else "the features are constant, so the singular values of the centred features are all zero"
    )


def panel(features: Tensor | Moments | Spectrum, eps: float = 1e-7) -> dict[str, float | str]:
    """All scores of one spectrum by name; a sentence in place of a missing score.

    Example:
        >>> scores = panel(torch.cat([torch.eye(4), -torch.eye(4)]))
        >>> round(float(scores["rankme"]), 3), scores["nesum"]
        (4.0, 4.0)
        >>> str(scores["alpha-req"])[:44]
        'the covariance has 4 eigenvalues above round'
    """
    scores: dict[str, Callable[[Spectrum], float]] = {
        "rankme": lambda z: rankme(z, eps=eps),
        "rankme-centred": lambda z: rankme(z, centre=True, eps=eps),
        "alpha-req": lambda z: alpha_req(z).alpha,
        "nesum": nesum,
        "participation-ratio": participation_ratio,
        "stable-rank": stable_rank,
    }
    try:
        shared = spectrum(features)
    except NoScore as why:
        return dict.fromkeys(scores, str(why))
    found: dict[str, float | str] = {}
    for name, score in scores.items():
        try:
            found[name] = score(shared)
        except NoScore as why:
            found[name] = str(why)
    return found


def too_few(features: Tensor) -> str | None:
    """A sentence if there are too few samples for the width of ``features`` ``(N, D)``, else None."""
    samples, width = features.shape
    if samples >= SAMPLES_PER_DIMENSION * width:
        return None
    return f"{samples} samples are few for {width} dimensions; {SAMPLES_PER_DIMENSION * width} would do"


def rounded(features: Tensor) -> str | None:
    """A sentence if features ``(N, D)`` are or were in half precision, else None."""
    if not features.is_floating_point():
        return None
    values = features[:64].flatten()
    names = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    if not (values == values.round()).all():
        for dtype, name in names.items():
            if features.dtype == dtype or (values.to(dtype).to(values.dtype) == values).all():
                return f"the features were rounded to {name}, which raises the rank of collapsed ones"
    return None


def no_power_law(fit: PowerLaw) -> str | None:
    """A sentence if a line explains the fitted spectrum badly, else None."""
    if fit.r2 >= STRAIGHT:
        return None
    return f"the spectrum is not a power law (R² {fit.r2:.2f}), so its exponent means little"


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
    """Each score of :func:`panel`, with its flags."""
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
