"""TiCo's running second moment is of all views of a step, and moves with the steps alone."""

from typing import Any

import torch

from selfsup.objectives import tico, tico_moment
from tests.methods.building import batch_of, build


@torch.no_grad()
def test_the_second_moment_is_of_both_views_and_moves_after_the_step() -> None:
    method: Any = build("method=tico", "method.projector.out=16", "method.beta=0.7").eval()
    batch = batch_of(method)
    method.moment.value.copy_(before := tico_moment(torch.randn(20, 16)))
    one, other = [method.projector(method.encoder(view)) for view in batch.views]
    first, second = [method.teacher(view) for view in batch.views]
    expected = tico(one, second, before, beta=0.7) + tico(other, first, before, beta=0.7)
    torch.testing.assert_close(method.loss(batch).loss, expected / 2)
    assert torch.equal(method.moment.value, before)
    method.after_step(0, 100)
    moment = (tico_moment(one) + tico_moment(other)) / 2
    torch.testing.assert_close(method.moment.value, 0.7 * before + 0.3 * moment)
