"""SwAV's prototypes, which stand still at first and stay unit rows, and its queue of earlier embeddings."""

from typing import Any

import pytest
import torch

from selfsup.errors import UsageError
from selfsup.methods import parts
from selfsup.methods.parts import Prototypes, Queue
from selfsup.objectives import swav
from tests.methods.building import batch_of, build


def test_prototypes_stand_still_at_first_and_are_unit_rows_after_every_step() -> None:
    method: Any = build("method=swav", "method.prototypes.freeze=0.5")
    optimizer, weight = method.configure_optimizers(), method.prototypes.weight
    moved = []
    for step in (0, 4, 5):
        before = weight.detach().clone()
        method.loss(batch_of(method, step=step, steps=10)).loss.backward()
        method.before_update(step, 10)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step, 10)
        moved.append(not torch.equal(before, weight))
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(len(weight)))
    assert moved == [False, False, True]


def test_similarities_are_cosines_in_full_precision() -> None:
    prototypes = Prototypes(4, 3)
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.cosine_similarity(z[:, None], prototypes.weight[None], dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        found = prototypes(z)
    torch.testing.assert_close(found, expected)


def test_a_queue_holds_the_newest_rows_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "gather", lambda rows: torch.cat([rows, rows + 100]))
    queue = Queue(5, 1)
    queue.gather(torch.tensor([[1.0]], requires_grad=True))
    queue.gather(torch.tensor([[2.0]]))  # a second micro-batch of the step
    queue.after_step(0, 10)
    queue.forget()
    assert queue.rows[:4].flatten().tolist() == [1, 101, 2, 102]
    assert not queue.rows.requires_grad
    queue.gather(torch.tensor([[3.0]]))
    queue.forget()  # of a step that was skipped
    queue.after_step(1, 10)
    queue.gather(torch.tensor([[4.0]]))
    queue.after_step(2, 10)
    assert queue.rows.flatten().tolist() == [104, 101, 2, 102, 4]
    queue.forget()
    queue.gather(torch.arange(10, 14)[:, None].float())
    queue.after_step(3, 10)
    assert queue.rows.flatten().tolist() == [113, 13, 110, 111, 112]


def test_the_queue_takes_part_when_it_is_full_and_its_time_has_come() -> None:
    method: Any = build(
        "method=swav", "batch_size=8", "method.queue.size=20", "method.queue.start=0.5"
    ).eval()

    @torch.no_grad()
    def embedded(view: torch.Tensor) -> torch.Tensor:
        return method.projector(method.encoder(view))

    for step, used in ((2, False), (49, False), (50, True)):
        batch = batch_of(method, step=step)
        scores = method.prototypes(torch.stack([embedded(view) for view in batch.views])).detach()
        queue = torch.stack([method.prototypes(each.rows) for each in method.queues])
        expected = swav(scores, scores[:2], queue=queue if used else None)
        torch.testing.assert_close(method.loss(batch).loss, expected, rtol=1e-4, atol=0)
        method.forget()
    assert method.earlier(batch_of(method, step=2, steps=2)) is None  # 16 of 20 rows are true ones
    first = batch_of(method)
    method.loss(first)
    method.after_step(0, 100)
    for queue, view in zip(method.queues, first.views, strict=False):
        torch.testing.assert_close(queue.rows[:8], embedded(view), rtol=1e-4, atol=1e-5)


def test_refuses_a_queue_of_less_than_a_batch() -> None:
    with pytest.raises(UsageError, match=r"method\.queue\.size is 100, less than a batch.*take 128 or more"):
        build("method=swav", "method.queue.size=100")
