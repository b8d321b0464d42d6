"""ReSSL: the weak view is the teacher's alone, and its embeddings are what later steps compare with."""

from typing import Any

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.objectives import ressl
from selfsup.views import view_kinds
from tests.methods.building import SMALL, batch_of, build


@torch.no_grad()
def test_the_first_view_is_the_teachers_and_is_queued_after_the_step() -> None:
    method: Any = build("method=ressl", "method.queue=128", "views.strong.count=2").eval()
    batch = batch_of(method)
    queue = method.queue.rows.clone()
    key = method.teacher(batch.views[0])
    one, other = [method.projector(method.encoder(view)) for view in batch.views[1:]]
    expected = (ressl(one, key, queue) + ressl(other, key, queue)) / 2
    torch.testing.assert_close(method.loss(batch).loss, expected)
    assert torch.equal(method.queue.rows, queue)
    method.after_step(0, 100)
    torch.testing.assert_close(method.queue.rows[:8], key)
    assert torch.equal(method.queue.rows[8:], queue[8:])


def test_the_weak_view_keeps_its_colours() -> None:
    views = view_kinds(load_config("train", ["method=ressl", "data=cifar10"])["views"])
    assert list(views) == ["weak", "strong"]
    assert (views["weak"]["jitter"], views["weak"]["grey"], views["strong"]["jitter"]) == (0.0, 0.0, 0.8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("method.teacher_temperature=0.1",), r"method\.teacher_temperature is 0\.1; it has to be below"),
        (("method.queue=100", "batch_size=128"), r"method\.queue is 100 and a step adds 128 "),
    ],
)
def test_what_cannot_work_is_refused_when_the_method_is_made(settings: tuple[str, ...], message: str) -> None:
    config = load_config("train", [*SMALL, "method=ressl", *settings])
    with pytest.raises(UsageError, match=message):
        make_method(config, make_encoder(config), devices=1)
