"""CLID: cluster learnability and intrinsic dimension of the features."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.evaluation.classifiers.neighbours import knn
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features, evenly
from selfsup.evaluation.label_free.uniformity import distinct, on_sphere, repeated
from selfsup.evaluation.registry import Count, named
from selfsup.evaluation.score import Score

FEWEST = 20
DISCARDED = 0.1
BLOCK = 1024
CANDIDATES = 4  # neighbours found in float32, among which the nearest two are found in float64


class Clid(NamedTuple):
    """What :func:`clid` found.

    Attributes:
        learnability: accuracy, 0 to 1, of the nearest neighbour on the clusters.
        dimension: intrinsic dimension.
        clusters: their number.
        samples: the number of distinct features.
    """

    learnability: float
    dimension: float
    clusters: int
    samples: int


def clid(features: Tensor, clusters: int | None = None, seed: int = 0) -> Clid:
    """Cluster learnability and intrinsic dimension (Lu et al. 2022, arXiv:2206.01251).

    Features are scaled to unit length, and copies dropped. Learnability is the accuracy with which the
    nearest neighbour (by cosine) in one half of the samples predicts the k-means cluster of those in the
    other half; the paper's is prequential. The dimension is :func:`intrinsic_dimension`. Either is meaningful
    only next to other encoders' on the same images: :func:`clid_scores` combines them.

    Args:
        features: ``(N, D)``. Takes N² products: 10,000 or so are enough.
        clusters: default ``sqrt(N)``, rounded.
        seed: of the clusters and the halves.

    Raises:
        NoScore: fewer than 20 distinct features, or some that are not finite or have no direction.

    Example:
        >>> found = clid(torch.randn(400, 8, generator=torch.Generator().manual_seed(0)))
        >>> found.clusters, found.samples
        (20, 400)
    """
    from sklearn.cluster import KMeans

    rows = on_sphere(features[distinct(features)]).float()
    samples = len(rows)
    if samples < FEWEST:
        raise NoScore(f"{samples} distinct features are too few to cluster; {FEWEST} are needed")
    clusters = round(samples**0.5) if clusters is None else clusters
    if not 1 < clusters <= samples // 2:
        raise NoScore(f"{clusters} clusters are too many for {samples} samples; choose 2 to {samples // 2}")
    means = KMeans(clusters, n_init=1, random_state=seed).fit(rows.cpu().numpy())
    labels = torch.from_numpy(means.labels_).long().to(rows.device)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).to(rows.device)
    bank, queries = order[: samples // 2], order[samples // 2 :]
    votes = knn(rows[bank], labels[bank], rows[queries], k=1, classes=clusters)
    learnability = (votes.argmax(1) == labels[queries]).double().mean().item()
    return Clid(learnability, intrinsic_dimension(rows), clusters, samples)


def intrinsic_dimension(features: Tensor, discarded: float = DISCARDED) -> float:
    """Intrinsic dimension by two nearest neighbours (TwoNN; Facco et al. 2017, arXiv:1803.06992).

    Where samples lie evenly in d dimensions, the ratio m of the distances to the second and to the first
    neighbour has ``log m`` distributed exponentially with rate d. The largest tenth of the ratios, which
    the data's uneven density distorts most, is only counted as being at least the largest of the others:
    with n of N kept, ``d = n / (sum_kept log m + (N - n) log m_n)``, the likelihood's maximum.

    Args:
        features: ``(N, D)`` of unit length, no two the same.
        discarded: share of the largest ratios, which are only counted as large.

    Raises:
        NoScore: fewer than 20 samples, or all ratios are 1.
    """
    samples = len(features)
    if samples < FEWEST:
        raise NoScore(f"{samples} features are too few for an intrinsic dimension; {FEWEST} are needed")
    # Distances do not change when the mean is subtracted, and then float32 resolves small ones.
    away = (features.double() - features.double().mean(dim=0)).float()
    lengths = away.square().sum(dim=1)
    found = []
    for rows in torch.arange(samples, device=features.device).split(BLOCK):
        squared = lengths[rows, None] + lengths - 2 * away[rows] @ away.t()
        squared[torch.arange(len(rows)), rows] = torch.inf
        near = squared.topk(CANDIDATES, dim=1, largest=False).indices
        # Again in float64: differences of squares keep few digits.
        exact = features[rows, None].double() - features[near].double()
        found.append(torch.linalg.vector_norm(exact, dim=2).sort(dim=1).values[:, :2])
    first, second = torch.cat(found).unbind(1)
    logs = (second / first)[first > 0].log().sort().values
    kept = round((1 - discarded) * len(logs))
    if kept < 1 or not logs[kept - 1] > 0:
        raise NoScore("each feature is as far from its second neighbour as from its first")
    return kept / float(logs[:kept].sum() + (len(logs) - kept) * logs[kept - 1])


def clid_scores(found: Sequence[Clid]) -> list[float]:
    """One number an encoder: standardised learnability plus standardised dimension, over the encoders.

    They rank encoders on the same images, and mean nothing else. A part in which all encoders agree adds
    nothing.

    Example:
        >>> clid_scores([Clid(0.5, 10.0, 20, 400), Clid(0.7, 20.0, 20, 400)])
        [-2.0, 2.0]
    """
    columns = torch.tensor([[one.learnability, one.dimension] for one in found], dtype=torch.float64)
    deviation, mean = torch.std_mean(columns, dim=0, correction=0)
    scaled = (columns - mean) / deviation.where(deviation > 0, torch.ones_like(deviation))
    return [round(score, 12) for score in scaled.sum(dim=1).tolist()]


@named(lambda **settings: ["clid-learnability", "clid-dimension"])
def score(train: Features, test: Features, *, samples: Count, seed: int) -> dict[str, Score]:
    """Both halves of :func:`clid`, meaningful only next to other encoders."""
    some = train.x[evenly(len(train), samples)]
    found = clid(some, seed=seed)
    flags = [flag for flag in [repeated(some)] if flag]
    values = {"clid-learnability": found.learnability, "clid-dimension": found.dimension}
    return {
        name: Score(
            value=value,
            settings={"clusters": found.clusters, "samples": found.samples},
            seed=seed,
            citation="Lu et al. 2022, arXiv:2206.01251",
            flags=list(flags),
            n_train=found.samples,
            n_test=0,
            title=name.replace("clid-", "CLID "),
        )
        for name, value in values.items()
    }
