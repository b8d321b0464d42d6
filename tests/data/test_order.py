"""The order of samples: nothing twice, nothing lost, whoever reads it and wherever it is taken up again."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from scipy.stats import chisquare

from selfsup.data.order import AHEAD, WINDOW, EpochOrder, ShardOrder, shuffled
from selfsup.errors import UsageError

SIZES = torch.tensor([7, 0, 30, 1, 12, 12, 12, 90, 3, 13])  # 180 samples


def order_of(kind: str, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> EpochOrder:
    if kind == "shards":
        return ShardOrder(SIZES, batch_size, seed, rank, world)
    return EpochOrder(int(SIZES.sum()), batch_size, seed, rank, world)


def batches_of(order: EpochOrder, epoch: int = 0) -> list[list[int]]:
    order.set_epoch(epoch)
    keys = list(order)
    assert {seen for seen, _ in keys} <= {epoch}
    return [indices for _, indices in keys]


both = pytest.mark.parametrize("kind", ["all", "shards"])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1000, 65537])
def test_a_shuffle_is_a_permutation(n: int) -> None:
    for epoch in range(3):
        assert torch.equal(shuffled(torch.arange(n), n, 1, epoch).sort().values, torch.arange(n))


def test_a_position_is_found_without_the_others() -> None:
    n = 10**12
    positions = torch.tensor([0, 1, 17, n - 1])
    together = shuffled(positions, n, 0, 0)
    alone = [int(shuffled(positions[i : i + 1], n, 0, 0)) for i in range(4)]
    assert together.tolist() == alone
    assert len(set(alone)) == 4
    assert 0 <= min(alone) <= max(alone) < n


def test_lanes_of_different_lengths_are_permuted_each_by_itself() -> None:
    lengths = torch.arange(1, 40)
    lane = torch.repeat_interleave(torch.arange(39), lengths)
    position = torch.cat([torch.arange(n) for n in lengths.tolist()])
    places = shuffled(position, lengths[lane], 0, 0, lane)
    parts = [places[lane == number] for number in range(39)]
    assert all(torch.equal(part.sort().values, torch.arange(len(part))) for part in parts)
    assert len({tuple((part[:30]).tolist()) for part in parts[30:]}) == 9


def by_lanes(n: int, lanes: int) -> torch.Tensor:
    """A permutation a row, (lanes, n)."""
    lane = torch.arange(lanes).repeat_interleave(n)
    return shuffled(torch.arange(n).repeat(lanes), n, 3, 0, lane).view(lanes, n)


def test_all_permutations_of_five_are_equally_frequent() -> None:
    found = Counter(tuple(row) for row in by_lanes(5, 3600).tolist())
    assert chisquare([found[p] for p in permutations(range(5))]).pvalue > 1e-4


@pytest.mark.parametrize("vary", ["seed", "epoch"])
def test_so_are_those_of_other_seeds_and_epochs(vary: str) -> None:
    names = [{"seed": 0, "epoch": 0, vary: number} for number in range(300)]
    found = Counter(tuple(shuffled(torch.arange(3), 3, **name).tolist()) for name in names)
    assert chisquare([found[p] for p in permutations(range(3))]).pvalue > 1e-4


def test_places_and_neighbours_are_spread_evenly() -> None:
    """Where each position goes, and how far apart two neighbours come to lie."""
    n = 40
    places = by_lanes(n, 4000)
    for position in (0, 1, 19, 39):
        assert chisquare(places[:, position].bincount(minlength=n)).pvalue > 1e-4
    apart = (places[:, 1:] - places[:, :-1]) % n  # every distance but 0, equally often
    assert chisquare(apart.flatten().bincount(minlength=n)[1:]).pvalue > 1e-4


@both
@pytest.mark.parametrize(
    ("batch_size", "world"), [(45, 1), (45, 2), (45, 4), (16, 1), (8, 2), (4, 4), (7, 3)]
)
def test_an_epoch_sees_each_sample_once_over_all_processes(kind: str, batch_size: int, world: int) -> None:
    samples = int(SIZES.sum())
    orders = [order_of(kind, batch_size, 0, rank, world) for rank in range(world)]
    shares = [batches_of(order) for order in orders]
    number = samples // (batch_size * world)
    assert [len(order) for order in orders] == [len(share) for share in shares] == [number] * world
    assert {len(batch) for share in shares for batch in share} == {batch_size}
    seen = [i for share in shares for batch in share for i in batch]
    assert len(seen) == len(set(seen)) == number * batch_size * world
    assert set(seen) <= set(range(samples))
    # However many processes share a batch, it is the same batch.
    together = [[i for batch in step for i in batch] for step in zip(*shares, strict=True)]
    assert together == batches_of(order_of(kind, batch_size * world))


@both
def test_the_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    orders = [batches_of(order_of(kind, 8, seed), epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len({str(order) for order in orders}) == 6
    assert batches_of(order_of(kind, 8, 1), 2) == orders[-1]
    flat = [i for batch in orders[0] for i in batch]
    assert flat != sorted(flat)


@both
def test_samples_left_over_change_with_the_epoch(kind: str) -> None:
    order = order_of(kind, 50)
    everything = set(range(order.samples))
    left = [everything - {i for batch in batches_of(order, epoch) for i in batch} for epoch in range(40)]
    assert {len(samples) for samples in left} == {30}
    assert set.union(*left) == everything


@both
def test_an_interrupted_epoch_goes_on_where_it_stopped(kind: str) -> None:
    for seen in (*range(22), 22):
        expected = [batches_of(order_of(kind, 8), 2)[seen:], batches_of(order_of(kind, 8), 3)]
        order = order_of(kind, 8)
        order.skip = seen
        assert [batches_of(order, 2), batches_of(order, 3)] == expected


def test_batches_worked_out_ahead_are_those_of_one_at_a_time() -> None:
    order = EpochOrder(3 * AHEAD, 100, 0)  # more than one stretch
    found = batches_of(order)
    some = torch.tensor([0, AHEAD // 100 - 1, AHEAD // 100, len(order) - 1])
    assert [found[i] for i in some] == order.indices(0, some).tolist()


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"batch of 24 images is larger than the data .20 images.; .*=10 or less"
    ):
        EpochOrder(20, 12, 0, world=2)
    with pytest.raises(UsageError, match="3 images are fewer than the 4 processes"):
        EpochOrder(3, 1, 0, world=4)
    assert len(EpochOrder(20, 10, 0, world=2)) == 1


def test_processes_share_a_shard_only_where_their_stretches_meet() -> None:
    sizes = torch.full((64,), 100)
    shard = torch.repeat_interleave(torch.arange(64), sizes)
    for epoch in range(5):
        readers = []
        for rank in range(4):
            batches = batches_of(ShardOrder(sizes, 8, 0, rank, 4), epoch)
            readers.append({int(shard[i]) for batch in batches for i in batch})
        shared = sum(map(len, readers)) - len(set.union(*readers))
        assert shared <= 5  # four borders, and the shard that the start lies in


def test_a_batch_of_shards_comes_from_all_over_the_data() -> None:
    sizes = torch.full((64,), 1000)
    order = ShardOrder(sizes, 64, 0)
    for epoch in range(3):
        batches = order.indices(epoch, torch.arange(len(order)))
        found = [len(batch.unique()) for batch in batches // 1000]
        assert sum(found) / len(found) > 50  # by chance it would be 40
    # A process reads a lane from one end to the other, a window at a time.
    lane = order.indices(0, torch.arange(len(order)))[:, 5]
    windows = [window.sort().values for window in lane.split(WINDOW)]
    assert all(
        window[-1] - window[0] == len(window) - 1 or (window // 1000).unique().numel() > 1
        for window in windows
    )
    assert not torch.equal(lane[:WINDOW], windows[0])


def test_samples_meet_others_in_every_epoch() -> None:
    """In shards as in a full shuffle, two samples that met in one epoch meet again no more than by chance."""
    sizes = torch.full((50,), 40)
    order = ShardOrder(sizes, 20, 0)
    met: Counter[tuple[int, int]] = Counter()
    epochs = 60
    for epoch in range(epochs):
        for batch in batches_of(order, epoch):
            met.update((a, b) for a in batch if a < 20 for b in batch if b >= 1000)
    by_chance = epochs * 20 / 2000
    assert sum(met.values()) / (20 * 1000) == pytest.approx(by_chance, rel=0.1)
    assert max(met.values()) <= 8  # Poisson with mean 0.6 over 20,000 pairs
