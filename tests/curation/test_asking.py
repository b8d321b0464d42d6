"""Pairs to ask about: what follows from answers, how likely a yes is, and what answers buy."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from selfsup.curation.asking import chance, known, next_pairs
from selfsup.curation.draws import draws
from selfsup.errors import UsageError
from selfsup.evaluation.intervals import auroc

NONE = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)


def clouds(spread: float, images: int = 300, kinds: int = 6) -> tuple[Tensor, Tensor]:
    """Features around a centre for each kind, and the kinds."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(kinds, 16, generator=generator)
    kind = torch.randint(kinds, (images,), generator=generator)
    return centres[kind] + spread * torch.randn(images, 16, generator=generator), kind


def test_who_belongs_with_mine_belongs_with_me_unless_a_no_contradicts() -> None:
    ends = torch.tensor([[4, 1], [1, 7], [2, 3], [3, 5], [5, 2], [6, 0], [8, 9]])
    same = torch.tensor([1, 1, 1, 1, 0, 0, -1])
    found = known(ends, same, 10)
    assert found.group.tolist() == [0, 1, 2, 2, 1, 2, 6, 1, 8, 9]
    assert found.contradicted.tolist() == [[5, 2]]
    assert found.follow.tolist() == [[1, 4], [1, 7], [2, 3], [3, 5], [4, 7]]
    assert known(ends, same, 10, follow=False).follow.tolist() == [[1, 4], [1, 7], [2, 3], [3, 5]]


def test_too_many_pairs_are_a_sentence() -> None:
    chain = torch.arange(6000)
    with pytest.raises(UsageError, match="17,997,000 pairs would follow from the answers; take follow=false"):
        known(torch.stack([chain[:-1], chain[1:]], dim=1), torch.ones(5999, dtype=torch.int64), 6000)


def test_the_chance_of_a_yes_is_that_of_a_penalised_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    answered = torch.rand(40, generator=generator).double()
    same = torch.rand(40, generator=generator) < (4 * answered - 2).sigmoid()
    rows = torch.stack([torch.ones(40), (answered - answered.mean()) / answered.std(correction=0)], dim=1)
    peer = LogisticRegression(C=1, fit_intercept=False, tol=1e-10).fit(rows.numpy(), same.numpy())
    expected = peer.predict_proba(rows.numpy())[:, 1]
    np.testing.assert_allclose(chance(answered, answered, same).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("same", [[True], [False], [True, True], [False, True]])
def test_few_answers_decide_little_and_likeness_never_speaks_against(same: list[bool]) -> None:
    answered = torch.linspace(0.5, 0.4, len(same))
    found = chance(torch.linspace(-1, 1, 9), answered, torch.tensor(same))
    assert found.diff().min() > 0
    assert 0.2 < chance(answered, answered, torch.tensor(same)).mean() < 0.8


def test_no_pair_follows_from_others_and_no_image_is_asked_about_too_often() -> None:
    x, _ = clouds(1.0)
    pairs = next_pairs(x, 49, draws(0), *NONE)
    assert len(pairs) == len(pairs.sort(dim=1).values.unique(dim=0)) == 49
    assert pairs.flatten().bincount().max() <= 7
    joined = known(pairs, torch.ones(49, dtype=torch.int64), len(x), follow=False).group
    assert len(joined.unique()) == len(x) - 49  # each joins two that nothing else joins
    centres = pairs[:, 0]
    assert int((centres[1:] != centres[:-1]).sum()) + 1 == len(centres.unique())


def test_what_is_known_is_not_asked_again() -> None:
    x, kind = clouds(1.0)
    ends, same = NONE
    for _ in range(4):
        pairs = next_pairs(x, 40, draws(0), ends, same)
        group = known(ends, same, len(x), follow=False).group
        told = {frozenset(pair) for pair in group[ends].tolist()}
        new = [frozenset(pair) for pair in group[pairs].tolist()]
        assert all(len(pair) == 2 and pair not in told for pair in new)
        ends, same = (
            torch.cat([ends, pairs]),
            torch.cat([same, (kind[pairs[:, 0]] == kind[pairs[:, 1]]).long()]),
        )
    same[:] = -1  # a pair that nobody could answer is not asked again either
    again = next_pairs(x, 40, draws(0), ends, same)
    both = torch.cat([ends, again]).sort(dim=1).values
    assert len(both.unique(dim=0)) == len(both)


def test_answers_buy_more_than_those_about_random_neighbours_and_rounds_buy_more() -> None:
    x, kind = clouds(2.0)

    def bought(*rounds: int) -> int:
        ends, same = NONE
        for count in rounds:
            pairs = next_pairs(x, count, draws(0), ends, same)
            ends = torch.cat([ends, pairs])
            same = torch.cat([same, (kind[pairs[:, 0]] == kind[pairs[:, 1]]).long()])
        return len(known(ends, same, len(x)).follow)

    unit = torch.nn.functional.normalize(x)
    near = (unit @ unit.T).fill_diagonal_(-1).topk(10).indices
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:60]
    ends = torch.stack([rows, near[rows, rows % 10]], dim=1)
    random = len(known(ends, (kind[ends[:, 0]] == kind[ends[:, 1]]).long(), len(x)).follow)
    assert bought(20, 20, 20) > bought(60) > 3 * random


def test_one_large_group_is_joined_before_many_small_ones() -> None:
    """Three groups of ten, and images of the same likeness beside them: a yes between groups is worth 100."""
    corner = torch.eye(3, 8).repeat_interleave(10, 0)
    x = torch.cat([corner + 0.6, torch.eye(8)[3:] + 0.6])
    ends = torch.tensor([[10 * g, 10 * g + i] for g in range(3) for i in range(1, 10)])
    pairs = next_pairs(x, 2, draws(0), ends, torch.ones(27, dtype=torch.int64))
    assert {int(i) // 10 for i in pairs.flatten()} == {0, 1, 2}


def test_the_area_under_the_curve_counts_pairs_and_its_interval_covers() -> None:
    draw = np.random.default_rng(0)
    high, low = draw.integers(3, 9, 30).tolist(), draw.integers(0, 7, 20).tolist()
    wins = sum((a > b) + (a == b) / 2 for a in high for b in low)
    value, (least, most) = auroc(high, low)
    assert value == pytest.approx(wins / 600)
    for end in (least, most):  # the ends solve Newcombe's equation
        q = (1 - end) / (2 - end) + end / (1 + end)
        variance = end * (1 - end) * (1 + (25 - 1) * q) / 600
        assert abs(value - end) == pytest.approx(1.959964 * variance**0.5, rel=1e-5)
    assert auroc([2, 3], [0, 1])[0] == 1
    assert 0 < auroc([2, 3], [0, 1])[1][0] < 1 == auroc([2, 3], [0, 1])[1][1]
    true, held = 0.8413447460685429, 0  # of Gaussians that are the root of two apart
    for _ in range(200):
        _, (least, most) = auroc((draw.normal(2**0.5, 1, 25)).tolist(), draw.normal(0, 1, 25).tolist())
        held += least <= true <= most
    assert held >= 180
    with pytest.raises(ValueError, match="got 0 and 1"):
        auroc([], [1])
