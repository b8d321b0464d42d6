"""Data sets learned from one after another: their order, and what is refused."""

from collections import Counter

import pytest
import torch

from selfsup.config import load_config
from selfsup.data import ImageFiles, load_data
from selfsup.data.batches import make_order
from selfsup.data.settings import require_paths
from selfsup.data.source import in_memory
from selfsup.data.stage_order import Stage, StageOrder, require_all
from selfsup.errors import UsageError

from .images import NAMES, encoded, noise, write_parquet

STAGES = [Stage("few", 0, 7, 2), Stage("many", 7, 20, 1), Stage("last", 27, 9, 3)]


def epochs_of(batch_size: int, rank: int = 0, world: int = 1) -> list[list[tuple[int, list[int]]]]:
    order = StageOrder(STAGES, batch_size, seed=3, rank=rank, world=world)
    found = []
    for epoch in range(7):
        order.set_epoch(epoch)
        found.append(list(order))
    return found


def test_a_stage_passes_over_its_own_images_alone_and_over_each_equally() -> None:
    epochs = epochs_of(batch_size=2)
    assert [len(epoch) for epoch in epochs] == [10] * 7
    for stage, its in zip(STAGES, (epochs[:2], epochs[2:3], epochs[3:]), strict=True):
        keys = [key for epoch in its for key in epoch]
        seen = Counter(i for _, indices in keys for i in indices)
        assert set(seen) == set(stage.rows.tolist())
        # A pass leaves out fewer than a batch.
        passes = {number for number, _ in keys}
        assert passes == set(range(len(passes)))
        for number in passes:
            its_pass = [i for each, indices in keys if each == number for i in indices]
            assert len(set(its_pass)) == len(its_pass)
        assert max(seen.values()) <= len(passes)
    assert len(epochs[0]) * 2 > STAGES[0].size  # so that images come again within an epoch


def test_an_image_that_comes_again_has_other_views() -> None:
    keys = [(number, i) for number, indices in epochs_of(2)[0] for i in indices]
    assert len(set(keys)) == len(keys)


def test_two_processes_share_the_batches_of_one() -> None:
    whole, halves = epochs_of(4), [epochs_of(2, rank, 2) for rank in (0, 1)]
    for one, *two in zip(whole, *halves, strict=True):
        for (number, indices), *parts in zip(one, *two, strict=True):
            assert [number] * 2 == [each for each, _ in parts]
            assert indices == [i for _, each in parts for i in each]


def test_a_run_too_short_for_its_last_stage_is_refused() -> None:
    order = StageOrder(STAGES, 2, seed=0)
    require_all(order, 31)
    with pytest.raises(UsageError, match=r"'last', begins in epoch 4; set trainer.max_epochs=6"):
        require_all(order, 30)


def test_a_batch_larger_than_a_stage_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a batch of 8 images is larger than stage 'few' \(7 images\)"):
        StageOrder(STAGES, 8, seed=0)


def test_images_that_cannot_be_read_do_not_move_the_stages() -> None:
    images = [encoded(noise(i)) for i in range(8)]
    images[1] = b"no image"
    source = ImageFiles(images)
    source.stages = [Stage("a", 0, 3, 1), Stage("b", 3, 5, 1)]
    array = in_memory(source)
    assert [(stage.start, stage.size) for stage in array.stages] == [(0, 2), (2, 5)]
    assert array.name(int(array.stages[1].rows[0])) == "image 3"


@pytest.fixture
def sets(tmp_path):
    found = []
    for number, name in enumerate(("first", "then")):
        train, test = _images(6, 10 * number), _images(3, 5)
        found += [
            f"{name}.data=parquet",
            f"{name}.train={write_parquet(tmp_path / f'{name}.parquet', train, [0, 1] * 3, NAMES)}",
            f"{name}.test={write_parquet(tmp_path / f'{name}-test.parquet', test, [0, 1, 0], NAMES)}",
            f"{name}.epochs={number + 1}",
        ]
    return found


def _images(count: int, first: int) -> list[bytes]:
    return [encoded(noise(first + i)) for i in range(count)]


def staged(*settings):
    data = load_config("train", ["data=stages", *(f"data.sources.{each}" for each in settings)])["data"]
    require_paths(data)
    return data


def test_the_sources_are_stages_in_the_order_of_their_names(sets) -> None:
    train, test = load_data(staged(*sets))
    assert train.stages == [Stage("first", 0, 6, 1), Stage("then", 6, 6, 2)]
    assert test.stages == [Stage("first", 0, 3, 1), Stage("then", 3, 3, 2)]
    assert ["then" in train.name(i) for i in range(12)] == [False] * 6 + [True] * 6
    order = make_order(train, 2, seed=0)
    assert isinstance(order, StageOrder)
    assert torch.equal(order.stages[1].rows, torch.arange(6, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["digits.epochs=1"], "stages needs two sources or more"),
        (["digits.epochs=1", "fractals.train=train"], "source 'fractals' has no epochs"),
        (["digits.epochs=1", "fractals.epochs=0.5"], "fractals.epochs has to be a whole number from 1"),
        (
            ["digits.epochs=1", "fractals.epochs=1", "fractals.weight=2"],
            "leave out data.sources.fractals.weight",
        ),
    ],
)
def test_what_is_missing_or_meaningless_is_refused(settings, message) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(staged(*settings))
