"""Mixed Barlow Twins mixes one view with other images' other view, and is Barlow Twins without the weight."""

from typing import Any

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.objectives import barlow_twins, mixed_barlow
from tests.methods.building import SMALL, batch_of, build


@torch.no_grad()
def test_the_regulariser_is_that_of_one_drawn_mixture() -> None:
    method: Any = build("method=mixed_barlow").eval()
    batch = batch_of(method)
    state = batch.generator.get_state()
    loss = method.loss(batch).loss
    batch.generator.set_state(state)
    mixed, order, share = method.mixture(batch, 0, 1)
    assert 0 < float(share) < 1
    assert sorted(order.tolist()) == list(range(8))
    torch.testing.assert_close(mixed, share * batch.views[0] + (1 - share) * batch.views[1][order])
    z1, z2, z = (method.projector(method.encoder(view)) for view in (*batch.views, mixed))
    regularizer = mixed_barlow(z1, z2, z2[order], z, share.expand(8))
    torch.testing.assert_close(loss, barlow_twins(z1, z2) + 4 * 0.0051 * regularizer)


def test_a_plan_with_one_large_view_is_refused_when_the_method_is_made() -> None:
    config = load_config("train", [*SMALL, "method=mixed_barlow", "views=dino", "views.second.size=0.5"])
    with pytest.raises(UsageError, match=r"mixed_barlow mixes two large views .*; take views=moco"):
        make_method(config, make_encoder(config), devices=1)
