"""Each metric is its function, in batches and on 1, 2 and 4 processes with unequal shares of the samples."""

from functools import partial

import pytest
import torch
from objectives.processes import WORLDS, on_worlds

from selfsup.evaluation import (
    KNN,
    Alignment,
    AlphaReq,
    LiDAR,
    NESum,
    NoScore,
    ParticipationRatio,
    RankMe,
    StableRank,
    Uniformity,
    alignment,
    alpha_req,
    knn,
    lidar,
    moments,
    nesum,
    participation_ratio,
    rankme,
    stable_rank,
    uniformity,
)

from .toys import SPECTRA, clusters, gaussian, views

OF_MOMENTS = {
    "rankme": (RankMe, rankme),
    "rankme centred": (lambda width: RankMe(width, centre=True), lambda z: rankme(z, centre=True)),
    "alpha": (AlphaReq, lambda z: alpha_req(z).alpha),
    "nesum": (NESum, nesum),
    "stable rank": (StableRank, stable_rank),
    "participation ratio": (ParticipationRatio, participation_ratio),
}
FEATURES = (
    "power law and mean",
    "wide",
    "rank 1 and noise",
    "rank 8 in blocks",
    "constant and noise",
    "bfloat16",
)


def spectral(score, features):
    metric, function = OF_MOMENTS[score]
    samples = SPECTRA[features]()
    return metric(samples.shape[1]), function, (samples,)


class Votes(KNN):
    """Told of each sample whether it asks or votes, so that bank and queries come in one batch."""

    def update(self, features, labels, asks):
        for bank, rows in ((True, ~asks), (False, asks)):
            super().update(features[rows], labels[rows], bank)


def knn_accuracy(features, labels, asks):
    votes = knn(features[~asks], labels[~asks], features[asks], k=5)
    return (votes.argmax(1) == labels[asks]).double().mean()


# The metric, the function, and the arguments of both, whose rows belong together.
CASES = {
    f"{score} of {features}": partial(spectral, score, features)
    for features in FEATURES
    for score in OF_MOMENTS
} | {
    "lidar": lambda: (LiDAR(24), lidar, views(240, 3, 24, 6)),
    "alignment": lambda: (Alignment(), alignment, views(240, 3, 24, 6)),
    "uniformity": lambda: (Uniformity(), uniformity, (gaussian(240, 24),)),
    "knn": lambda: (Votes(k=5), knn_accuracy, (*clusters(240, 8, 4, spread=2.0), torch.arange(240) % 5 == 0)),
}


def results(world, rank):
    """Of this rank's share: rank r holds about r + 1 parts of the samples, in groups of three."""
    found = {}
    for name, case in CASES.items():
        metric, _, arguments = case()
        samples = len(arguments[0])
        ends = [3 * (samples * k * (k + 1) // (world * (world + 1)) // 3) for k in range(world)] + [samples]
        for batch in zip(*(x[ends[rank] : ends[rank + 1]].split(900) for x in arguments), strict=True):
            metric.update(*batch)
        found[name] = score_or_reason(metric.compute)
    return found


def score_or_reason(score, *arguments):
    try:
        return float(score(*arguments))
    except NoScore as why:
        return str(why)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return on_worlds(tmp_path_factory, "metrics", results)


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_processes_give_the_score_of_all_samples(name, computed):
    _, function, arguments = CASES[name]()
    expected = score_or_reason(function, *arguments)
    for world in WORLDS:
        found = [result[name] for result in computed[world]]
        assert found == [expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-4)] * world


def test_a_forward_gives_the_batchs_score_and_counts():
    metric = RankMe(width=6)
    first, second = gaussian(40, 6), gaussian(50, 6, seed=1) * torch.arange(1, 7)
    assert float(metric(first)) == pytest.approx(rankme(first), rel=1e-6)
    assert float(metric(second)) == pytest.approx(rankme(second), rel=1e-6)
    assert float(metric.compute()) == pytest.approx(rankme(torch.cat([first, second])), rel=1e-6)
    metric.reset()
    metric.update(first)
    assert float(metric.compute()) == pytest.approx(rankme(first), rel=1e-6)


def test_casting_a_module_keeps_the_sums_in_float64():
    metric = torch.nn.ModuleList([RankMe(width=6)]).half()[0]
    metric.update(gaussian(40, 6))
    assert metric.gram.dtype == torch.float64
    assert torch.equal(metric.moments().gram, moments(gaussian(40, 6)).gram)


def test_nothing_seen():
    with pytest.warns(UserWarning, match="before"), pytest.raises(NoScore, match="no features"):
        RankMe(width=3).compute()
    with pytest.warns(UserWarning, match="before"), pytest.raises(NoScore, match="two views"):
        Alignment().compute()
    with pytest.warns(UserWarning, match="before"), pytest.raises(NoScore, match="one of the two is empty"):
        KNN().compute()
