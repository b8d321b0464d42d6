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


def test_its_target_is_the_blurred_standardised_patch() -> None:
    method: Any = build("method=semaim").eval()
    batch = batch_of(method, 2)
    images, side = batch.views[0].double(), method.encoder.patch_size
    kernel = torch.exp(-(torch.arange(-4, 5).double() ** 2) / 2)
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernel.expand(3, 1, 9, 9), groups=3)
    patches = patchify(blurred, side)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    order = method.order(method.answer(images.float()), torch.Generator().manual_seed(5))
    batch.generator.manual_seed(5)
    errors = (method.predict(images.float(), order) - target).square().mean(-1)
    expected = errors[order > order.amin(1, keepdim=True)].mean()
    torch.testing.assert_close(method.loss(batch).loss.double(), expected, rtol=1e-4, atol=1e-4)


def test_or_the_direction_of_the_teachers_token() -> None:
    method: Any = build("method=semaim", "method.target=teacher").eval()
    batch = batch_of(method, 2)
    tokens = method.answer(batch.views[0])
    order = method.order(tokens, torch.Generator().manual_seed(5))
    batch.generator.manual_seed(5)
    cosine = torch.cosine_similarity(method.predict(batch.views[0], order), tokens[:, 1:], dim=-1)
    torch.testing.assert_close(method.loss(batch).loss, (2 - 2 * cosine).mean())


def test_another_target_is_refused() -> None:
    with pytest.raises(UsageError, match=r"method\.target is pixels or teacher, not 'clip'"):
        build("method=semaim", "method.target=clip")


def test_without_a_class_token_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"take method\.class_token=true"):
        build("method=semaim", "method.class_token=false")
