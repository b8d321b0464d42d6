"""Orders whose batches hold a sample several times, or beside one that belongs with it."""

import pytest
import torch

from selfsup.data import ImageArray
from selfsup.data.batches import Batches, make_order
from selfsup.data.group_order import PairedOrder, RepeatedOrder
from selfsup.data.relations import Edges, SameLabel
from selfsup.errors import UsageError
from selfsup.views import ViewPlan
from selfsup.views.draws import REPEAT
from tests.methods.building import composed

RELATION = Edges(torch.tensor([[i, (i * 7 + 1) % 40] for i in range(0, 40, 2)]), 40)
ORDERS = {
    "repeated": lambda batch, world: RepeatedOrder(43, batch, 5, 4, world=world),
    "paired": lambda batch, world: PairedOrder(40, batch, 5, RELATION, world=world),
}


def epochs(order: RepeatedOrder | PairedOrder, count: int) -> list[tuple[int, list[int]]]:
    found = []
    for epoch in range(count):
        order.set_epoch(epoch)
        found += list(order)
    return found


@pytest.mark.parametrize("name", ORDERS)
def test_processes_share_the_batch_of_one(name: str) -> None:
    whole = epochs(ORDERS[name](16, 1), 3)
    parts = []
    for rank in (0, 1):
        order = ORDERS[name](8, 2)
        order.rank = rank
        parts.append(epochs(order, 3))
    assert [(number, one + other) for (number, one), (_, other) in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("name", ORDERS)
def test_a_run_that_is_resumed_goes_on_with_the_same_batches(name: str) -> None:
    order = ORDERS[name](16, 1)
    order.set_epoch(2)
    whole = list(order)
    again = ORDERS[name](16, 1)
    again.epoch, again.skip = 2, 1
    assert list(again) == whole[1:]


@pytest.mark.parametrize("name", ORDERS)
def test_no_row_has_the_views_of_another(name: str) -> None:
    seen = [(number, draw) for number, draws in epochs(ORDERS[name](16, 1), 30) for draw in draws]
    assert len(set(seen)) == len(seen)


def test_each_image_comes_with_all_its_repeats_and_once_a_pass() -> None:
    order = RepeatedOrder(43, 16, 0, 4)
    passes: dict[int, list[int]] = {}
    for number, draws in epochs(order, 40):
        rows = torch.tensor(draws).view(4, 4)
        assert torch.equal(rows % REPEAT, (rows % REPEAT)[:, :1].expand(4, 4))
        assert (rows // REPEAT).tolist() == [[0, 1, 2, 3]] * 4
        passes.setdefault(number, []).extend((rows % REPEAT)[:, 0].tolist())
    whole = list(passes.values())[:-1]
    assert len(whole) >= 7
    for images in whole:
        assert len(images) == 40  # of 43, what is less than a batch is left out
        assert len(set(images)) == 40
    assert whole[0] != whole[1]


def test_each_image_is_beside_one_that_belongs_with_it() -> None:
    firsts = []
    for _, draws in epochs(PairedOrder(40, 16, 0, RELATION), 10):
        for one, other in torch.tensor(draws).remainder(REPEAT).view(8, 2).tolist():
            firsts.append(one)
            if one in RELATION.connected().tolist():
                assert one != other
                assert bool(RELATION(torch.tensor([one]), torch.tensor([other])))
    counts = torch.tensor(firsts).bincount(minlength=40)
    assert counts.max() - counts.min() <= 1


def test_a_batch_is_made_of_whole_groups() -> None:
    with pytest.raises(
        UsageError, match="a batch of 10 images is not made of groups of 4; take batch_size=8"
    ):
        RepeatedOrder(43, 10, 0, 4)


def test_orders_that_exclude_each_other_are_refused() -> None:
    source = ImageArray(torch.zeros(40, 3, 8, 8, dtype=torch.uint8))
    source.relation = RELATION
    with pytest.raises(
        UsageError, match=r"views.repeat=2 and positives=edges order the images in different ways"
    ):
        make_order(source, 8, 0, repeat=2, paired=True)
    with pytest.raises(UsageError, match=r"curation and views.repeat=2 order"):
        make_order(source, 8, 0, share=0.5, repeat=2)


def plan(second: str = "self") -> ViewPlan:
    views = composed("method=byol", f"views.second.of={second}")["views"]
    return ViewPlan(views, 8, [0.5] * 3, [0.2] * 3, seed=3)


def test_a_repeated_image_has_other_views_each_time() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    batches = Batches(ImageArray(images), plan())
    raw = batches[0, [2, 2 + REPEAT, 1]]
    assert raw["index"].tolist() == [2, 2, 1]
    views = plan()(raw, 0)
    alone = plan()(batches[0, [2]], 0)
    for view, single in zip(views, alone, strict=True):
        assert not torch.equal(view[0], view[1])
        assert torch.equal(view[:1], single)  # repeats change nothing of the first


def test_a_view_of_a_pair_shows_the_partner() -> None:
    values = torch.arange(6).view(6, 1, 1, 1).expand(6, 3, 8, 8) * 40
    source = ImageArray(values.contiguous().byte())
    source.relation = SameLabel(torch.tensor([0, 0, 1, 1, 2, 2]))
    settings = [
        f"views.{kind}.{key}=0" for kind in ("first", "second") for key in ("jitter", "grey", "solarize")
    ]
    views = composed("method=byol", "views.second.of=pair", *settings)["views"]
    flat = ViewPlan(views, 8, [0.0] * 3, [1.0] * 3)
    raw = Batches(source, flat)[0, list(range(6))]
    first, second = (view.mean((1, 2, 3)) * 255 / 40 for view in flat(raw, 0))
    torch.testing.assert_close(first, torch.arange(6.0))
    torch.testing.assert_close(second, torch.tensor([1.0, 0, 3, 2, 5, 4]))
