"""The order of samples of which each class comes equally often."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.config import load_config
from selfsup.data import ImageArray, load_data
from selfsup.data.batches import make_order
from selfsup.data.class_order import ClassOrder
from selfsup.data.settings import data_config
from selfsup.data.stage_order import Stage
from selfsup.errors import UsageError
from selfsup.views.draws import REPEAT

MIXED = torch.randperm(66, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([3] * 40 + [0] * 20 + [7] * 6)[MIXED]


def epochs_of(batch_size: int, rank: int = 0, world: int = 1, skip: int = 0, begin: int = 0, end: int = 4):
    order = ClassOrder(LABELS, batch_size, seed=3, rank=rank, world=world, skip=skip)
    for epoch in range(begin, end):
        order.set_epoch(epoch)
        yield [(number, [draw % REPEAT for draw in draws]) for number, draws in order]


def test_each_class_comes_equally_often_in_an_epoch_of_the_usual_length():
    for epoch in epochs_of(6):
        assert len(epoch) == 11
        seen = Counter(int(LABELS[i]) for _, indices in epoch for i in indices)
        assert seen == {0: 22, 3: 22, 7: 22}


@pytest.mark.parametrize("batch_size", [3, 5, 7, 16])
def test_each_class_has_its_share_of_a_batch(batch_size):
    for epoch in epochs_of(batch_size):
        for _, indices in epoch:
            counts = [sum(int(LABELS[i]) == c for i in indices) for c in (0, 3, 7)]
            assert max(counts) - min(counts) <= 2


def test_no_sample_comes_twice_in_a_batch_that_has_no_more_places_for_its_class():
    for epoch in epochs_of(12):  # 4 of each class, at most 5; the smallest has 6
        assert all(len(set(indices)) == 12 for _, indices in epoch)
    repeated = [len(set(indices)) for epoch in epochs_of(33) for _, indices in epoch]
    assert max(repeated) < 33  # 11 places for 6 samples


def test_passes_over_a_small_class_are_whole_and_a_large_one_is_seen_in_time():
    epochs = list(epochs_of(6, end=12))
    for epoch in epochs:
        seen = Counter(i for _, indices in epoch for i in indices if LABELS[i] == 7)
        assert sorted(seen.values()) == [3, 3, 4, 4, 4, 4]
    assert len({i for epoch in epochs for _, indices in epoch for i in indices}) == 66


def test_no_sample_has_the_same_views_twice_along_the_run():
    order, seen = ClassOrder(LABELS, 33, seed=3), []  # in a batch a sample of the smallest class comes twice
    for epoch in range(4):
        order.set_epoch(epoch)
        seen += [(number, draw) for number, draws in order for draw in draws]
    assert len(set(seen)) == len(seen) == 4 * 66


def test_two_processes_share_the_batches_of_one():
    for one, *two in zip(epochs_of(12), *(epochs_of(6, rank, 2) for rank in (0, 1)), strict=True):
        for (number, indices), *parts in zip(one, *two, strict=True):
            assert [number] * 2 == [each for each, _ in parts]
            assert indices == [i for _, each in parts for i in each]


def test_a_run_goes_on_in_the_middle_of_an_epoch():
    whole = list(epochs_of(6))
    assert list(epochs_of(6, skip=4, begin=2)) == [whole[2][4:], whole[3]]


def test_every_epoch_and_seed_has_an_order_of_its_own():
    orders = [[i for _, indices in epoch for i in indices] for epoch in epochs_of(6)]
    assert all(one != other for k, one in enumerate(orders) for other in orders[:k])
    other = [draw % REPEAT for _, draws in ClassOrder(LABELS, 6, seed=4) for draw in draws]
    assert other != orders[0]


def test_of_long_tailed_data_each_class_comes_equally_often():
    settings = ["data=digits", "data.imbalance=20", "data.balanced=true"]
    train, _ = load_data(load_config("train", settings)["data"])
    sizes = train.labels.bincount()
    assert sizes.max() >= 20 * sizes.min() - 20
    order = make_order(train, 20, seed=0)
    assert isinstance(order, ClassOrder)
    seen = train.labels[[draw % REPEAT for _, draws in order for draw in draws]].bincount()
    assert seen.max() - seen.min() <= 1
    assert train.decisions.lines()[-1] == (
        f"each of 10 classes comes equally often, by the labels (data.balanced): they have {sizes.min()} to "
        f"{sizes.max()} images"
    )


def refused(source: ImageArray, share: float | None = None) -> str:
    source.balanced = True
    with pytest.raises(UsageError) as error:
        make_order(source, 2, seed=0, share=share)
    return str(error.value)


def test_two_orders_are_refused():
    source = ImageArray(torch.zeros(66, 3, 8, 8, dtype=torch.uint8), LABELS)
    assert "curation and data.balanced=true order the images in different ways" in refused(source, share=0.5)
    source.stages = [Stage("a", 0, 33, 1), Stage("b", 33, 33, 1)]
    assert "data=stages and data.balanced=true order the images in different ways" in refused(source)
    source.stages, source.sizes = [], torch.tensor([33, 33])
    assert "shards are read from end to end" in refused(source)


def test_images_without_labels_are_refused(tmp_path: Path):
    np.save(tmp_path / "images.npy", np.zeros((20, 8, 8, 3), dtype=np.uint8))
    given = ["data=arrays", f"data.images={tmp_path / 'images.npy'}", "data.balanced=true"]
    with pytest.raises(UsageError, match="the training images have no labels; leave it out"):
        load_data(load_config("train", given)["data"])
    with pytest.raises(UsageError, match="classes are balanced in data=digits alone"):
        data_config("digits", {"balanced": True, "weight": 1})
