"""StoP's predictor asks for tokens at positions with noise, which passes through its own input layer."""

from typing import Any

import pytest
import torch
from lightly.models import utils
from torch import Tensor

from tests.methods.building import batch_of, build


@pytest.fixture(scope="module")
def method() -> Any:
    made: Any = build("method=stop").eval()
    with torch.no_grad():
        made.predictor.predictor_embed.bias.normal_()
    return made


@pytest.fixture
def asked(method: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A prediction with as much noise as is asked for, and what was predicted from."""
    batch = batch_of(method)
    context, targets = method.blocks(8, batch.generator, batch.device)
    visible = method.encoder.tokens(batch.images, keep=context).detach()

    def predict(noise: float, own: bool = True) -> Tensor:
        monkeypatch.setattr(method, "noise", noise)
        if own:
            return method.predict(visible, context, targets, batch)
        return method.predictor(visible, [context], list(targets))

    predict.targets = targets  # type: ignore[attr-defined]
    return predict


@torch.no_grad()
def test_without_noise_it_predicts_as_jepa_does_whose_mask_token_is_the_input_layers_bias(
    method: Any, asked: Any
) -> None:
    token = method.predictor.decoder.mask_token
    before, ours = token.clone(), asked(0.0)
    assert torch.equal(asked(0.0), ours)
    assert (ours - asked(0.0, own=False)).abs().max() > 1e-3
    token.copy_(method.predictor.predictor_embed.bias)
    torch.testing.assert_close(ours, asked(0.0, own=False))
    token.copy_(before)


@torch.no_grad()
def test_noise_is_drawn_anew_for_every_target(method: Any, asked: Any) -> None:
    quiet, one, other = asked(0.0), asked(0.25), asked(0.25)
    for a, b in ((quiet, one), (one, other)):
        assert (a - b).abs().amax(-1).min() > 0


@torch.no_grad()
def test_noise_has_the_encoders_width_and_passes_the_input_layer(method: Any, asked: Any) -> None:
    tokens: list[Tensor] = []
    handle = method.predictor.decoder.blocks.register_forward_pre_hook(lambda _, x: tokens.append(x[0]))
    asked(0.25)
    handle.remove()
    length, layer = asked.targets.shape[-1], method.predictor.predictor_embed
    positions = method.predictor.decoder.pos_embed.expand(8, -1, -1)
    added = tokens[0][:, -length:] - utils.apply_masks(positions, list(asked.targets)) - layer.bias
    drawn = added @ torch.linalg.pinv(layer.weight).T
    torch.testing.assert_close(drawn @ layer.weight.T, added, rtol=1e-3, atol=1e-4)
    assert drawn.std() == pytest.approx(0.25, rel=0.05)


def test_the_input_layer_is_trained_in_the_place_of_the_mask_token(method: Any) -> None:
    method.loss(batch_of(method)).loss.backward()
    assert not method.predictor.decoder.mask_token.requires_grad
    assert method.predictor.predictor_embed.bias.grad.abs().max() > 0
    method.zero_grad()
