"""What NNCLR promises beyond its objective: neighbours are of earlier steps, and of the first view."""

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.methods.nnclr import NNCLR
from selfsup.objectives import nnclr
from tests.methods.building import SMALL, batch_of, build


def test_both_views_have_neighbours_and_the_first_ones_projections_are_queued() -> None:
    method = build("method=nnclr", "method.queue=128").eval()
    assert isinstance(method, NNCLR)
    batch = batch_of(method)
    with torch.no_grad():
        one, other = [method.projector(method.encoder(view)) for view in batch.views]
        queue = method.queue.rows.clone()
        expected = nnclr(method.predictor(other), one, queue) + nnclr(method.predictor(one), other, queue)
    torch.testing.assert_close(method.loss(batch).loss, expected / 2)
    assert torch.equal(method.queue.rows, queue)
    method.after_step(0, 100)
    torch.testing.assert_close(method.queue.rows[:8], one)
    assert torch.equal(method.queue.rows[8:], queue[8:])


def test_a_queue_that_cannot_hold_a_batch_is_refused_when_the_method_is_made() -> None:
    config = load_config("train", [*SMALL, "method=nnclr", "method.queue=100", "batch_size=64"])
    assert make_method(config, make_encoder(config), devices=1)
    with pytest.raises(UsageError, match=r"method\.queue is 100 and a step adds 128 "):
        make_method(config, make_encoder(config), devices=2)
