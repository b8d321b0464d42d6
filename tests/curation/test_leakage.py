"""What copies of test samples add to kNN."""

import pytest
import torch

from selfsup.curation.leakage import leakage
from selfsup.curation.pairs import Pairs
from selfsup.evaluation.classifiers.neighbours import knn


def planted(copies: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Pairs]:
    """Overlapping classes; the last ``copies`` rows of the bank are the first queries, slightly changed."""
    made = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (700,), generator=made)
    x = torch.nn.functional.one_hot(labels, 6).float() + 0.8 * torch.randn(700, 6, generator=made)
    bank, queries = x[:500], x[500:]
    near = queries[:copies] + 0.01 * torch.randn(copies, 6, generator=made)
    pairs = Pairs(500 + torch.arange(copies), torch.arange(copies), torch.ones(copies), 0)
    return (
        torch.cat([bank, near]),
        torch.cat([labels[:500], labels[500 : 500 + copies]]),
        queries,
        labels[500:],
        pairs,
    )


def test_the_effect_is_that_of_a_bank_without_the_copies() -> None:
    bank, bank_labels, queries, labels, pairs = planted(80)
    found = leakage(bank, bank_labels, queries, labels, pairs)
    # As each copy is near one query alone, leaving out a query's own is leaving out all.
    with_all = (knn(bank, bank_labels, queries).argmax(1) == labels).double().mean()
    truth = (knn(bank[:500], bank_labels[:500], queries).argmax(1) == labels).double().mean()
    assert found.whole == pytest.approx(float(with_all))
    assert found.effect > 0.05
    assert found.low <= float(with_all - truth) <= found.high
    assert found.affected == 80
    assert found.helped - found.harmed == round(found.effect * 200)


def test_without_copies_there_is_no_effect() -> None:
    bank, bank_labels, queries, labels, pairs = planted(0)
    found = leakage(bank, bank_labels, queries, labels, pairs)
    assert (found.effect, found.low, found.high, found.helped, found.harmed) == (0, 0, 0, 0, 0)


def test_only_a_querys_own_copies_are_left_out() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0]])
    queries = torch.tensor([[1.0, 0.01], [1.0, 0.0]])
    pairs = Pairs(torch.tensor([0]), torch.tensor([0]), torch.ones(1), 0)
    found = leakage(bank, torch.tensor([1, 0, 0]), queries, torch.tensor([1, 1]), pairs, k=1)
    assert (found.whole, found.without, found.helped) == (1.0, 0.5, 1)
