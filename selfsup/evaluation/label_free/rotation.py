"""The rotation probe: a labelled task for any image."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.classifiers.probes import logistic, logits, standardise
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.intervals import student
from selfsup.evaluation.score import Score

TURNS = 4
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
FEWEST = 10


class Rotation(NamedTuple):
    """What :func:`rotation` found.

    Attributes:
        accuracy: share of turned images whose turn was predicted, of images that were not trained on.
        interval: of the accuracy, 95 %, over images.
        strength: of the penalty, chosen on images that were neither fitted nor judged.
        fitted, judged: images.
        shares: of each judged image the share of its turns that were told.
        rows: the judged images' positions.
    """

    accuracy: float
    interval: tuple[float, float]
    strength: float
    fitted: int
    judged: int
    shares: list[float]
    rows: list[int]


def rotation(features: Tensor, seed: int = 0, fold: int = 0) -> Rotation:
    """Accuracy of predicting a turn of 0, 90, 180 or 270 degrees from frozen features; chance is 0.25.

    It ranks augmentations and encoders much as labels do (SelfAugment; Reed et al. 2021, arXiv:2009.07724).
    Logistic regression on standardised features. The images are split, never their turned copies: three
    fifths are fitted, on one fifth the penalty is chosen, and on one fifth the accuracy is taken. It means
    nothing for images without an upright, such as those taken from above.

    Args:
        features: ``(4, N, D)``: of the same N images, turned by 0 to 3 quarters.
        seed: of the split.
        fold: 0 to 4, which fifth is judged; over all of them each image but the last few is judged once.

    Raises:
        NoScore: fewer than 10 images, or features that are constant or not finite.
        ValueError: features of another shape.

    Example:
        >>> corners = torch.eye(4)[:, None].expand(4, 20, 4)
        >>> rotation(corners).accuracy
        1.0
    """
    if features.ndim != 3 or features.shape[0] != TURNS:
        raise ValueError(f"features must be (4, N, D), one for each turn, not {tuple(features.shape)}")
    features = features.float()
    images = features.shape[1]
    if images < FEWEST:
        raise NoScore(f"{images} images are too few for a rotation probe; {FEWEST} are needed")
    if not features.isfinite().all():
        raise NoScore("the features are not finite")
    if (features == features[:1, :1]).all():
        raise NoScore("the features of all turned images are the same")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).to(features.device)
    fifth = images // 5
    order = order.roll(-fold * fifth)
    parts = order[2 * fifth :], order[:fifth], order[fifth : 2 * fifth]
    fit, choose, judge = standardise(*(features[:, part].flatten(0, 1) for part in parts))
    turns = torch.arange(TURNS, device=features.device)
    weights, outcomes = None, []
    for strength in STRENGTHS:
        # From strong to weak each solution is a good start for the next.
        weights = logistic(fit, turns.repeat_interleave(len(parts[0])), TURNS, strength, weights)
        scores, answer = logits(choose, weights), turns.repeat_interleave(fifth)
        accuracy = (scores.argmax(0) == answer).double().mean().item()
        loss = F.cross_entropy(scores.t(), answer).item()
        outcomes.append((accuracy, -loss, strength, weights))
    best = max(outcomes, key=lambda outcome: outcome[:2])
    told = logits(judge, best[3]).argmax(0).view(TURNS, fifth) == turns[:, None]
    # The four copies of an image are not independent samples, but the images are.
    shares = told.double().mean(dim=0)
    return Rotation(
        shares.mean().item(),
        interval(shares.tolist()),
        best[2],
        len(parts[0]),
        fifth,
        shares.tolist(),
        parts[2].tolist(),
    )


def interval(shares: list[float]) -> tuple[float, float]:
    """95 % of the mean of shares, one an image, from 0 to 1."""
    low, high = student(shares)
    return max(low, 0.0), min(high, 1.0)


def score(train: Features, test: Features, *, seed: int) -> Score:
    """:func:`rotation` of training images, split by image."""
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
