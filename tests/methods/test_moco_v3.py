"""What MoCo v3 promises beyond its objective."""

import torch

from selfsup.methods.moco_v3 import MoCoV3
from selfsup.objectives import moco_v3
from tests.methods.building import batch_of, build


def test_both_views_ask_and_their_losses_are_added() -> None:
    method = build("method=moco_v3").eval()
    assert isinstance(method, MoCoV3)
    one, other = (batch := batch_of(method)).views
    expected = torch.zeros(())
    for asks, answers in ((one, other), (other, one)):
        query = method.predictor(method.projector(method.encoder(asks)))
        expected = expected + moco_v3(query, method.teacher(answers), 0.2)
    torch.testing.assert_close(method.loss(batch).loss, expected)


def test_a_transformers_projection_of_patches_can_stay_as_it_began() -> None:
    for backbone, frozen in (("vit_mini", 2), ("resnet10", 0)):
        method = build("method=moco_v3", "method.freeze_patches=true", f"backbone={backbone}")
        held = [key for key, p in method.encoder.named_parameters() if not p.requires_grad]
        assert sum(key.startswith("model.patch_embed.") for key in held) == frozen
        method.loss(batch_of(method)).loss.backward()
        assert any(p.grad is not None for p in method.encoder.parameters())
