"""Methods that are told which samples belong together: what they make of it, and who refuses it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch.nn.parallel import DistributedDataParallel

from selfsup.build import make_encoder, make_method
from selfsup.config import options
from selfsup.data import ImageArray
from selfsup.data.relations import Edges, SameLabel, make_relation
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.objectives import same_class, sup_con
from selfsup.views.draws import REPEAT
from tests.methods.building import SMALL, batch_of, build, composed, fitting, images

RELATED = ("barlow", "mixed_barlow", "simclr", "spectral", "triplet", "vicreg")
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])


def related(name: str, *settings: str, labels: torch.Tensor = LABELS) -> Method:
    config = composed(*fitting(*SMALL, f"method={name}", "positives=labels", *settings))
    return make_method(config, make_encoder(config), 1, SameLabel(labels)).eval()


def gradients(method: Method, batch: object) -> tuple[torch.Tensor, ...]:
    loss = method.loss(batch).loss  # type: ignore[arg-type]
    return loss, *torch.autograd.grad(loss, [p for p in method.parameters() if p.requires_grad])


def test_those_that_compare_samples_are_these() -> None:
    assert [
        name for name in options("method") if name != "distill" and build(f"method={name}").related
    ] == list(RELATED)


@pytest.mark.parametrize("name", ["simclr", "barlow", "vicreg"])
def test_a_relation_of_views_alone_gives_the_value_and_gradient_of_the_method_itself(name: str) -> None:
    plain, alone = build(f"method={name}").eval(), related(name, labels=torch.arange(8))
    alone.load_state_dict(plain.state_dict())
    batch = batch_of(alone)
    assert torch.equal(batch.positives, torch.eye(8, dtype=torch.bool))
    for one, other in zip(gradients(alone, batch), gradients(plain, batch_of(plain)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_relation_of_classes_is_sup_con() -> None:
    method = related("simclr")
    batch = batch_of(method)
    assert torch.equal(batch.positives, LABELS[:, None] == LABELS)
    embeddings = torch.stack([method.projector(method.encoder(view)) for view in batch.views])
    expected = sup_con(embeddings, same_class(LABELS), method.temperature)
    torch.testing.assert_close(method.loss(batch).loss, expected)


@pytest.mark.parametrize("name", RELATED)
def test_who_belongs_together_changes_the_loss(name: str) -> None:
    method = related(name)
    batch = batch_of(method)
    alone = replace(batch, relation=lambda rows, columns: rows[:, None] == columns)
    assert not torch.isclose(method.loss(batch).loss, method.loss(alone).loss)


@pytest.mark.parametrize("name", RELATED)
def test_the_relation_is_in_no_checkpoint(name: str) -> None:
    assert not [key for key in related(name).state_dict() if "relation" in key]


@pytest.mark.parametrize("name", ["byol", "mae", "dino", "diet"])
def test_a_method_that_compares_no_samples_refuses_a_relation(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"method={name} does not compare images, so positives=labels would"
    ):
        related(name)


def test_any_method_of_two_views_takes_one_of_the_partner() -> None:
    method = related("byol", "views.second.of=pair")
    assert method.relation is None
    assert method.views.of_pair == [False, True]


def test_an_image_that_comes_twice_belongs_with_itself() -> None:
    config = composed(*fitting(*SMALL, "method=simclr", "views.repeat=2"))
    relation = make_relation(config, ImageArray(images(8)), ImageArray(images(2)))
    method = make_method(config, make_encoder(config), 1, relation).eval()
    twice = torch.arange(4).repeat_interleave(2)
    batch = batch_of(method, index=twice, draw=twice + REPEAT * (torch.arange(8) % 2))
    assert torch.equal(batch.positives, twice[:, None] == twice)
    assert not torch.equal(batch.views[0][0], batch.views[0][1])
    for name in ("dcl", "look"):  # of which the latter would vote for its own image
        with pytest.raises(UsageError, match=rf"method={name} compares the rows of a batch, and with views"):
            build(f"method={name}", "views.repeat=2")
    assert build("method=byol", "views.repeat=2").relation is None


def test_a_batch_that_is_only_looked_at_asks_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(index: torch.Tensor) -> torch.Tensor:
        raise TimeoutError("the other processes do not come")

    method = related("simclr")
    monkeypatch.setattr("selfsup.methods.batch.gather", wait)
    batch = batch_of(method)
    assert method.observe(batch).keys() == {"backbone", "embedding"}
    with pytest.raises(TimeoutError):
        method.loss(batch)


ENDS = torch.tensor([[0, 1], [2, 9], [3, 4], [4, 5], [10, 15], [15, 0]])


def of_edges(name: str, ends: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Value and gradient of some rows of a batch of 16, whose batch norms use what they have."""
    torch.manual_seed(0)
    method = related(name, labels=torch.arange(16)).double()
    method.relation = Edges(ends, 16)
    raw = {"image": images(16), "index": torch.arange(16), "epoch": 0}
    whole = method.batch(raw)
    batch = method.batch({key: value[rows] for key, value in raw.items() if key != "epoch"})
    views = [view[rows].double() for view in whole.views]
    return gradients(method, replace(batch, views=views))


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    sent = DistributedDataParallel(related("simclr")).named_module_buffers
    assert "relation.labels" not in sent
    assert any(name.startswith("projector") for name in sent)
    for name in RELATED:
        if name != "mixed_barlow":  # each process mixes its own images
            found = of_edges(name, ENDS.flip(0, 1), torch.arange(16).chunk(2)[rank])
            for each in found:
                torch.distributed.all_reduce(each.detach())
            if rank == 0:
                torch.save([each.detach() / 2 for each in found], f"{folder}/{name}.pt")
    torch.distributed.destroy_process_group()


def test_edges_in_any_order_over_two_processes_give_what_one_has(tmp_path: Path) -> None:
    multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)
    found = {path.stem: torch.load(path) for path in tmp_path.glob("*.pt")}
    assert len(found) == len(RELATED) - 1
    for name, together in found.items():
        for ours, whole in zip(together, of_edges(name, ENDS, torch.arange(16)), strict=True):
            torch.testing.assert_close(ours, whole.detach(), rtol=1e-6, atol=1e-9)
