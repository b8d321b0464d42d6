"""MSN's student sees the patches that are left of large views, and its teacher one whole view."""

from typing import Any

import pytest
import torch

from selfsup.errors import UsageError
from selfsup.objectives import msn
from tests.methods.building import batch_of, build
from tests.methods.test_methods import counted_tokens


def test_the_student_encodes_what_is_left_and_the_teacher_all() -> None:
    method: Any = build("method=msn", "method.mask_ratio=0.5")
    with counted_tokens(method) as lengths:
        method.loss(batch_of(method))
    # A copy of the block is the teacher's; small views of 10 px have fewer patches.
    small = (method.views.sizes[-1][0] // method.encoder.patch_size) ** 2
    assert sorted(lengths) == sorted([36 // 2, small])
    seen: list[int] = []
    encoder = method.learned_encoder()
    encoder.model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    method.loss(batch_of(method))
    assert seen == [36]


def test_its_loss_is_of_the_views_in_their_order() -> None:
    method: Any = build("method=msn").eval()
    batch = batch_of(method)
    keep, _ = method.mask(8, batch)
    batch.generator.manual_seed(batch.generator.initial_seed())
    with torch.no_grad():
        features = [method.encoder.pool(method.encoder.sequence(batch.views[1], keep))]
        features += [method.encoder(view) for view in batch.views[2:]]
        anchors = torch.stack([method.projector(each) for each in features])
        expected = msn(anchors, method.teacher(batch.views[0]), method.prototypes.weight)
        torch.testing.assert_close(method.loss(batch).loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_pooled_features_of_all_patches_are_those_of_a_call(pool: str) -> None:
    method: Any = build("method=msn", "method.class_token=true", f"method.pool={pool}").eval()
    encoder, images = method.encoder, batch_of(method).views[0]
    whole = torch.arange(36).expand(8, -1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.pool(encoder.sequence(images, whole)), encoder(images))
        assert (encoder.pool(encoder.sequence(images, whole[:, :9])) - encoder(images)).abs().max() > 1e-3


def test_the_sheet_shows_what_is_hidden_where_all_views_are_large() -> None:
    method: Any = build("method=msn", "views.small.count=0")
    hidden = method.regions(batch_of(method))["hidden"]
    assert hidden.shape == (16, 36)
    assert hidden[:8].sum() == 0
    assert hidden[8:].sum(1).tolist() == [11] * 8  # 0.3 of 36
    method = build("method=msn")
    assert method.regions(batch_of(method)) == {}


def test_refuses_to_hide_everything() -> None:
    with pytest.raises(UsageError, match=r"method\.mask_ratio=0\.99 hides 36 of 6 x 6 patches.*to 0\.97$"):
        build("method=msn", "method.mask_ratio=0.99")
