"""The order of samples of which fewer are kept from some epochs on."""

from collections import Counter

import pytest
import torch

from selfsup.data.batches import make_order
from selfsup.data.kept_order import KeptOrder
from selfsup.data.order import EpochOrder
from selfsup.errors import UsageError

FIRST, SECOND = torch.tensor([0, 1, 4, 7, 8, 9, 11]), torch.tensor([2, 3, 5, 10, 18])


def epochs_of(batch_size: int, rank: int = 0, world: int = 1) -> list[list[tuple[int, list[int]]]]:
    order = KeptOrder(20, batch_size, seed=3, rank=rank, world=world)
    order.keep(2, FIRST)
    order.keep(3, SECOND)
    found = []
    for epoch in range(6):
        order.set_epoch(epoch)
        found.append(list(order))
    return found


def test_before_the_first_choice_the_order_is_that_of_all_samples() -> None:
    order = EpochOrder(20, 2, seed=3)
    for epoch in range(2):
        order.set_epoch(epoch)
        assert epochs_of(2)[epoch] == list(order)


def test_only_samples_kept_are_seen_and_each_equally_often() -> None:
    epochs = epochs_of(2)
    assert [len(epoch) for epoch in epochs] == [10] * 6
    for kept, its in ((FIRST, epochs[2:3]), (SECOND, epochs[3:])):
        seen = Counter(i for epoch in its for _, indices in epoch for i in indices)
        assert set(seen) == set(kept.tolist())
        passes = {number for epoch in its for number, _ in epoch}
        for number in passes:
            one = [i for epoch in its for each, indices in epoch if each == number for i in indices]
            assert len(set(one)) == len(one)
        assert max(seen.values()) <= len(passes)


def test_no_sample_has_the_same_views_twice_along_the_run() -> None:
    keys = [(number, i) for epoch in epochs_of(2) for number, indices in epoch for i in indices]
    assert len(set(keys)) == len(keys) == 120


def test_two_processes_share_the_batches_of_one() -> None:
    for one, *two in zip(epochs_of(4), *(epochs_of(2, rank, 2) for rank in (0, 1)), strict=True):
        for (number, indices), *parts in zip(one, *two, strict=True):
            assert [number] * 2 == [each for each, _ in parts]
            assert indices == [i for _, each in parts for i in each]


def test_a_choice_made_again_replaces_the_later_ones() -> None:
    order = KeptOrder(20, 2, seed=3)
    order.keep(2, FIRST)
    order.keep(4, FIRST)
    order.keep(2, SECOND)
    assert list(order.kept) == [2]
    order.set_epoch(5)
    assert {i for _, indices in order for i in indices} == set(SECOND.tolist())


def test_fewer_than_a_batch_are_refused() -> None:
    class Source:
        stages = None

        def __len__(self) -> int:
            return 20

    with pytest.raises(UsageError, match=r"curation.share=0.2 of 20 images is less than a batch \(6\)"):
        make_order(Source(), 3, 0, 2, share=0.2)
    assert isinstance(make_order(Source(), 2, 0, 2, share=0.2), KeptOrder)
    with pytest.raises(ValueError, match="2 samples are kept, fewer than a batch"):
        KeptOrder(20, 3, 0).keep(1, torch.tensor([1, 2]))
