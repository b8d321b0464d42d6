"""Cluster learnability and intrinsic dimension."""

from selfsup.evaluation.clid import clid
from selfsup.evaluation.features import Features, evenly
from selfsup.evaluation.registry import Count, named
from selfsup.evaluation.score import Score
from selfsup.evaluation.uniformity import repeated


@named(lambda **settings: ["clid-learnability", "clid-dimension"])
def score(train: Features, test: Features, *, samples: Count, seed: int) -> dict[str, Score]:
    """Both parts of :func:`selfsup.evaluation.clid`, meaningful only next to other encoders."""
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
