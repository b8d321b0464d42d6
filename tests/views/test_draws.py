"""Draws are uniform, independent in every one of their coordinates, and a function of nothing else."""

import pytest
import torch
from scipy.stats import chi2, norm

from selfsup.views.draws import uniform

N = 50_000
INDEX = torch.arange(N)
# A good generator exceeds each bound once in a million times; about a hundred statistics are looked at.
LEVEL = 1e-6
SIGMAS = norm.isf(LEVEL / 2)


def reference(seed: int, epoch: int, index: int, view: int, number: int) -> float:
    """The same hash in Python's own integers, which do not overflow."""

    def mix(word: int) -> int:
        word ^= word >> 16
        word = word * 0x7FEB352D % 2**32
        word ^= word >> 15
        word = word * 0x846CA68B % 2**32
        return word ^ word >> 16

    state = mix(index % 2**32)
    for word in (index >> 32, seed, epoch, view, number):
        state = mix((state + word * 0x9E3779B9 + 0x7F4A7C15) % 2**32)
    return (state >> 8) / 2**24


def assert_uniform(draws: torch.Tensor) -> None:
    n = draws.numel()
    draws = draws.double().flatten()
    assert abs(draws.mean() - 1 / 2) < SIGMAS * (1 / 12 / n) ** 0.5
    assert abs(draws.var() - 1 / 12) < SIGMAS * (1 / 180 / n) ** 0.5
    assert_even((draws * 64).long())


def assert_even(cells: torch.Tensor) -> None:
    expected = len(cells) / 64
    chi_square = ((torch.bincount(cells, minlength=64) - expected) ** 2 / expected).sum()
    # Too even would be no chance either.
    assert chi2.ppf(LEVEL, 63) < chi_square < chi2.isf(LEVEL, 63)


def assert_independent(one: torch.Tensor, other: torch.Tensor) -> None:
    one, other = one.double().flatten(), other.double().flatten()
    bound = SIGMAS / one.numel() ** 0.5
    # Neither the numbers nor their distances from the middle are correlated.
    for a, b in ((one, other), ((one - 0.5).abs(), (other - 0.5).abs())):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < bound
    assert_even((one * 8).long() * 8 + (other * 8).long())


def test_draws_are_float32_below_one() -> None:
    draws = uniform(0, 0, INDEX, 0, 8)
    assert draws.shape == (N, 8)
    assert draws.dtype == torch.float32
    assert 0 <= draws.min() < 1e-4
    assert 1 - 1e-4 < draws.max() < 1
    assert draws.unique().numel() > 0.98 * draws.numel()  # 24 bits leave 1.2 % of so many equal


@pytest.mark.parametrize("where", [(0, 0, 0), (1, 7, 3), (2**31, 1000, 11)])
def test_uniform_over_samples(where: tuple[int, int, int]) -> None:
    seed, epoch, view = where
    for column in uniform(seed, epoch, INDEX, view, 3).unbind(dim=1):
        assert_uniform(column)


def test_uniform_over_every_other_coordinate() -> None:
    """A sample's draws over its life are as uniform as those of all samples at one moment."""
    one = torch.tensor([12_345])
    assert_uniform(uniform(0, 0, one, 0, 8000))
    assert_uniform(torch.cat([uniform(0, epoch, one, 0, 8) for epoch in range(1000)]))
    assert_uniform(torch.cat([uniform(seed, 0, one, 0, 8) for seed in range(1000)]))
    assert_uniform(torch.cat([uniform(0, 0, one, view, 8) for view in range(1000)]))


@pytest.mark.parametrize(
    "neighbour",
    [
        {"index": INDEX + 1},
        {"index": INDEX + 2**32},
        {"index": INDEX * 2},
        {"epoch": 4},
        {"seed": 6},
        {"view": 2},
        {"first": 1},
        # Two coordinates changed against each other: a hash of their sum would not notice.
        {"epoch": 4, "view": 0},
        {"seed": 6, "epoch": 2},
        {"view": 0, "first": 1},
        {"index": INDEX + 1, "epoch": 2},
    ],
    ids=lambda change: "-".join(change),
)
def test_neighbours_are_independent(neighbour: dict) -> None:
    here = {"seed": 5, "epoch": 3, "index": INDEX, "view": 1, "draws": 2, "first": 0}
    assert_independent(uniform(**here), uniform(**here | neighbour))


def test_draws_are_a_function_of_the_sample_alone() -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    whole = uniform(1, 2, torch.arange(100), 3, 5)
    assert torch.equal(uniform(1, 2, order, 3, 5), whole[order])
    assert torch.equal(uniform(1, 2, torch.tensor([17]), 3, 5), whole[17:18])
    assert torch.equal(uniform(1, 2, torch.arange(100), 3, 2, first=3), whole[:, 3:])


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 12_345])
def test_the_hash_is_that_of_unbounded_integers(seed: int, index: int) -> None:
    draws = uniform(seed, 999, torch.tensor([index]), 11, 3)
    assert draws[0].tolist() == [reference(seed, 999, index, 11, number) for number in range(3)]
