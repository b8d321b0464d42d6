"""Mixtures beside a method's own loss: the value, what it draws, and what it refuses."""

import pytest
import torch

from selfsup.errors import UsageError
from selfsup.objectives import mixed_barlow
from tests.methods.building import batch_of, build


@pytest.mark.parametrize("name", ["vicreg", "frossl", "barlow"])
def test_the_loss_is_that_of_the_features_of_a_mixture(name: str) -> None:
    method = build(f"method={name}", "auxiliary=[mixed]", "auxiliary.mixed.weight=0.5", "views=moco").eval()
    batch = batch_of(method)
    batch.generator.manual_seed(7)
    found = method(batch)
    batch.generator.manual_seed(7)
    alone = method.loss(batch).loss
    share = torch.rand(1, generator=batch.generator)
    order = torch.randperm(len(batch), generator=batch.generator)
    one, other = batch.views[0], batch.views[1]
    z1, z2 = method.encoder(one), method.encoder(other)
    mixture = method.encoder(share * one + (1 - share) * other[order])
    expected = mixed_barlow(z1, z2, z2[order], mixture, share.expand(len(batch)))
    torch.testing.assert_close(found.scalars["mixed"], expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.loss, alone + 0.5 * expected, rtol=1e-4, atol=1e-5)


def test_the_encoder_is_held_once_and_learns_from_it() -> None:
    method = build("method=vicreg", "auxiliary=[mixed]", "views=moco")
    assert not list(method.auxiliary["mixed"].parameters())
    assert not any(key.startswith("auxiliary") for key in method.state_dict())
    batch = batch_of(method)
    output = method.loss(batch)
    loss = method.auxiliary["mixed"](batch, output.features)
    gradients = torch.autograd.grad(loss, list(method.encoder.parameters())[1:3])
    assert all(each.abs().sum() > 0 for each in gradients)


def test_views_of_two_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="mixes two views of one size"):
        build("method=diet", "auxiliary=[mixed]")
