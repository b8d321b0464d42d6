import hashlib

import pytest
import torch

from selfsup.data.holdout import held_out_count, hold_out
from selfsup.errors import UsageError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 7 + [3])
KEYS = [f"images/{i}.png" for i in range(len(LABELS))]


@pytest.mark.parametrize("labels", [LABELS, None])
@pytest.mark.parametrize("count", [1, 17, 44, 80])
def test_the_split_is_a_partition_of_the_asked_size(labels, count):
    train, test = hold_out(KEYS, labels, count)
    assert len(test) == count
    assert sorted(train.tolist() + test.tolist()) == list(range(len(KEYS)))
    assert train.tolist() == sorted(train.tolist())
    assert test.tolist() == sorted(test.tolist())


def test_each_class_gives_its_share_and_keeps_one():
    _, test = hold_out(KEYS, LABELS, 22)
    shares = LABELS[test].bincount(minlength=4)
    assert ((shares - LABELS.bincount() * 22 / 88).abs() < 1).all()
    train, _ = hold_out(KEYS, LABELS, 87)
    assert LABELS[train].bincount().tolist() == [1, 1, 1, 1]
    assert len(hold_out(["a", "b"], torch.tensor([0, 1]), 1)[1]) == 0


def test_the_split_follows_the_keys_not_their_order():
    backward = torch.arange(len(KEYS) - 1, -1, -1)
    _, test = hold_out(KEYS, LABELS, 20)
    _, again = hold_out([KEYS[i] for i in backward], LABELS[backward], 20)
    assert {KEYS[i] for i in test} == {KEYS[backward[i]] for i in again}


def test_an_added_image_moves_at_most_one_other():
    _, before = hold_out(KEYS, None, 20)
    _, after = hold_out([*KEYS, "images/new.png"], None, 20)
    assert len(set(before.tolist()) - set(after.tolist())) <= 1


def test_the_split_is_the_same_on_every_machine_and_release():
    _, test = hold_out([str(i) for i in range(20)], None, 4)
    digests = {i: hashlib.blake2b(str(i).encode(), digest_size=8).hexdigest() for i in range(20)}
    assert test.tolist() == sorted(sorted(digests, key=digests.__getitem__)[:4])


def test_the_size_of_the_test_split():
    assert [held_out_count(n, 0.2) for n in (2, 3, 5, 10, 1000)] == [1, 1, 1, 2, 200]
    assert held_out_count(3, 0.99) == 2
    for fraction in (0, 1, -0.1, 20):
        with pytest.raises(UsageError, match="between 0 and 1"):
            held_out_count(10, fraction)
