"""Weighted nearest neighbours, as DINO reports them."""

from selfsup.evaluation.classifiers.neighbours import knn_each
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Counts, Positive
from selfsup.evaluation.score import Score, absent, accuracy


def score(train: Features, test: Features, *, k: Counts, temperature: Positive) -> Score:
    """Accuracy with the first of ``k``; those with the others are in the settings.

    Choosing the best of several k on the test split, as papers do, would be selection on it.
    """
    assert train.labels is not None
    assert test.labels is not None
    possible = [each for each in k if each <= len(train)]
    if k[0] not in possible:
        raise NoScore(f"k={k[0]} is more than the bank's {len(train)} samples; set protocols.knn.k=[1]")
    votes = knn_each(train.x, train.labels, test.x, possible, temperature)
    by_k = {str(each): float((vote.argmax(1) == test.labels).double().mean()) for each, vote in votes.items()}
    return accuracy(
        votes[k[0]].argmax(1),
        test.labels,
        settings={"k": k[0], "temperature": temperature, "metric": "cosine", "accuracy_by_k": by_k},
        citation="Caron et al. 2021, arXiv:2104.14294",
        flags=absent(train.labels, test.labels),
        title=f"kNN (k={k[0]})",
    )
