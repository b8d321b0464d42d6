"""SemAIM's predictions know nothing of patches whose turn is later."""

from typing import Any

import pytest
import torch

from selfsup.errors import UsageError
from selfsup.objectives import patchify, unpatchify
from tests.methods.building import batch_of, build


def test_a_prediction_does_not_depend_on_patches_of_its_turn_or_later() -> None:
    method: Any = build("method=semaim").eval()
    images = batch_of(method, 2).views[0]
    order = torch.rand(2, 36, generator=torch.Generator().manual_seed(0)).argsort(1).float()
    turn = 20
    patches = patchify(images, method.encoder.patch_size)
    changed = torch.where((order >= turn).unsqueeze(-1), patches + 1, patches)
    with torch.no_grad():
        before = method.predict(images, order)
        after = method.predict(unpatchify(changed, method.encoder.patch_size), order)
    difference = (before - after).abs().amax(-1)
    assert difference[order <= turn].max() < 1e-5
    assert difference[order > turn + 1].min() > 1e-5


def test_the_order_is_round_the_patch_most_like_the_class_token() -> None:
    method: Any = build("method=semaim").eval()
    batch = batch_of(method, 4)
    tokens = method.answer(batch.views[0])
    order = method.order(tokens, batch.generator)
    likeness = torch.cosine_similarity(tokens[:, 1:], tokens[:, :1], dim=-1)
    assert torch.equal(order.argmin(1), likeness.argmax(1))
    assert all(len(set(row.tolist())) == 36 for row in order)  # no ties


def test_without_a_class_token_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"take method\.class_token=true"):
        build("method=semaim", "method.class_token=false")
