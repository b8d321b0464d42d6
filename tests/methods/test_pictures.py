"""What methods show of images: what was hidden is hidden, and what came back is the prediction."""

from dataclasses import replace
from typing import Any

import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.methods.rehearsal import noise_batch
from selfsup.objectives import patchify

SMALL = ("backbone.model_args.depth=1", "backbone.model_args.embed_dim=24", "backbone.model_args.num_heads=2")


def made(method: str, *settings: str) -> tuple[Any, Batch]:
    config = load_config("train", [f"method={method}", *SMALL, *settings])
    size = config["data"]["image_size"]
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    made = make_method(config, make_encoder(config), devices=1).eval()
    batch = replace(noise_batch(made), views=[images] * len(made.views), index=torch.arange(3))
    return made, batch


def pictures(method: Any, batch: Batch) -> dict[str, torch.Tensor]:
    return method.pictures(replace(batch, generator=torch.Generator().manual_seed(0)))


@torch.inference_mode()
def test_mae_shows_the_seen_patches_and_its_prediction_of_the_others() -> None:
    method, batch = made("mae", "method.normalize=false")
    method.predict.weight.zero_()
    method.predict.bias.fill_(0.25)
    shown = list(pictures(method, batch).values())
    whole, seen, painted = (patchify(picture, method.encoder.patch_size) for picture in shown)
    hidden = (seen == 0).all(dim=-1)
    assert hidden.double().mean() == method.mask.ratio
    assert torch.equal(seen[~hidden], whole[~hidden])
    assert torch.equal(painted[~hidden], whole[~hidden])
    assert torch.equal(painted[hidden], torch.full_like(painted[hidden], 0.25))
    assert torch.equal(shown[0], batch.views[0])


@torch.inference_mode()
def test_normalised_patches_are_painted_with_their_own_mean() -> None:
    method, batch = made("mae")
    method.predict.weight.zero_()
    method.predict.bias.zero_()
    whole, seen, painted = (
        patchify(picture, method.encoder.patch_size) for picture in pictures(method, batch).values()
    )
    hidden = (seen == 0).all(dim=-1)
    expected = whole[hidden].mean(-1, keepdim=True).expand_as(whole[hidden])
    torch.testing.assert_close(painted[hidden], expected)


@torch.inference_mode()
def test_jepa_shows_where_its_predictions_are_like_the_teachers_tokens() -> None:
    method, batch = made("jepa")
    _, seen, alike = pictures(method, batch).values()
    assert alike.shape == (3, *method.encoder.grid)
    asked = ~alike.isnan()
    assert 0 < asked.double().mean() < 1
    assert alike[asked].abs().max() <= 1 + 1e-6

    teacher = method.answer(batch.views[0])
    normed = torch.nn.functional.layer_norm(teacher, teacher.shape[-1:])
    method.predictor.forward = lambda tokens, context, targets: torch.cat(
        [normed.gather(1, block.unsqueeze(-1).expand(-1, -1, normed.shape[-1])) for block in targets]
    )
    _, again, perfect = pictures(method, batch).values()
    assert torch.equal(again, seen)
    torch.testing.assert_close(perfect[asked], torch.ones_like(perfect[asked]))
    # What is asked for is not shown to the encoder.
    side = method.encoder.patch_size
    hidden = patchify(seen, side).abs().amax(-1).view(3, *method.encoder.grid) == 0
    assert bool(hidden[asked].all())


def test_a_method_that_shows_nothing_has_no_pictures() -> None:
    method, batch = made("barlow")
    assert isinstance(method, Method)
    assert pictures(method, batch) == {}
