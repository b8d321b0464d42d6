"""What MoCo promises beyond its objective: a queue of the newest keys, which moves with the steps alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.methods.moco import MoCo
from selfsup.methods.parts import Queue
from tests.methods.building import SMALL, batch_of, build


def rows(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def test_a_queue_begins_with_directions_and_forgets_the_oldest_rows_first() -> None:
    queue = Queue(5, 3)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(5))
    queue = Queue(5, 1)
    for step, batch in enumerate([(1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0)]):
        queue.gather(rows(*batch))
        queue.after_step(step, 9)
        queue.forget()
    assert sorted(queue.rows.flatten().tolist()) == [5, 6, 7, 8, 9]


def test_a_queue_takes_the_micro_batches_of_a_step_and_nothing_of_one_that_was_skipped() -> None:
    queue = Queue(4, 1)
    queue.gather(rows(1.0, 2.0))
    queue.forget()
    queue.gather(rows(3.0, 4.0))
    queue.gather(rows(5.0, 6.0))
    queue.after_step(0, 9)
    assert queue.rows.flatten().tolist() == [3, 4, 5, 6]
    queue.forget()
    queue.after_step(1, 9)
    assert queue.rows.flatten().tolist() == [3, 4, 5, 6]


def test_the_teachers_keys_of_a_step_are_in_the_next_steps_queue() -> None:
    method = build("method=moco", "method.queue=128")
    assert isinstance(method, MoCo)
    batch = batch_of(method)
    keys = method.teacher(batch.views[1])
    first = method.loss(batch).loss
    torch.testing.assert_close(method.loss(batch).loss, first)
    method.forget()
    method.loss(batch)
    method.after_step(0, 100)
    torch.testing.assert_close(method.queue.rows[:8], keys)
    # Where the same images answer, they repel their own earlier keys.
    assert method.loss(batch).loss.item() > first.item()


def test_the_first_view_asks_and_the_others_answer() -> None:
    method = build("method=moco")
    batch = batch_of(method)
    one = method.loss(replace(batch, views=[batch.views[0], batch.views[1]])).loss
    three = method.loss(replace(batch, views=[batch.views[0], batch.views[1], batch.views[1]])).loss
    torch.testing.assert_close(three, one)


def test_a_queue_that_cannot_hold_a_step_is_refused_when_the_method_is_made() -> None:
    config = load_config("train", [*SMALL, "method=moco", "method.queue=100", "batch_size=64"])
    assert make_method(config, make_encoder(config), devices=1)
    with pytest.raises(UsageError, match=r"method\.queue is 100 and a step adds 128 .*method\.queue=4096"):
        make_method(config, make_encoder(config), devices=2)
