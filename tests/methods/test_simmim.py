"""SimMIM's encoder computes all patches, and sees nothing of those that a token stands for."""

from typing import Any

import pytest
import torch

from selfsup.errors import UsageError
from selfsup.objectives import patchify, unpatchify
from tests.methods.building import batch_of, build
from tests.methods.test_methods import counted_tokens


@pytest.fixture(scope="module")
def method() -> Any:
    return build("method=simmim").eval()


@torch.inference_mode()
def test_pixels_of_a_hidden_patch_do_not_change_what_is_painted(method: Any) -> None:
    batch = batch_of(method)
    _, hidden = method.mask(8, batch)
    patches = patchify(batch.images, method.encoder.patch_size)
    with counted_tokens(method) as lengths:
        painted = method.paint(batch.images, hidden)
    assert lengths == [36]
    for which, same in ((hidden, True), (~hidden, False)):
        changed = torch.where(which.unsqueeze(-1), torch.randn_like(patches), patches)
        again = method.paint(unpatchify(changed, method.encoder.patch_size), hidden)
        assert torch.equal(again, painted) is same
    # One token stands for all hidden patches; its position tells them apart.
    two = painted[0, hidden[0]][:2]
    assert (two[0] - two[1]).abs().max() > 1e-4


def test_whole_squares_are_hidden(method: Any) -> None:
    keep, hidden = method.mask(8, batch_of(method))
    cells = hidden.view(8, 3, 2, 3, 2).transpose(2, 3).flatten(3)
    assert torch.equal(cells.all(-1), cells.any(-1))
    assert cells.all(-1).flatten(1).sum(1).tolist() == [6] * 8  # at least 0.6 of nine
    assert not hidden.gather(1, keep).any()
    assert keep.shape == (8, 12)
    assert len(hidden.unique(dim=0)) > 1


@torch.inference_mode()
def test_its_loss_is_the_absolute_error_of_hidden_values_as_they_are(method: Any) -> None:
    batch = batch_of(method)
    loss = method.loss(batch).loss
    batch.generator.manual_seed(batch.generator.initial_seed())
    _, hidden = method.mask(8, batch)
    error = method.paint(batch.images, hidden) - patchify(batch.images, method.encoder.patch_size)
    torch.testing.assert_close(loss, error[hidden].abs().mean())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("masking=randon", r"method\.masking is one of random, .*, got 'randon'$"),
        ("cell=4", r"method\.cell=4 does not divide 6 x 6 patches; take a divisor, such as 1$"),
        ("cell=6", r"there is one patch; set a smaller method\.cell$"),
    ],
)
def test_refuses_in_a_sentence_what_cannot_be_hidden(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("method=simmim", f"method.{setting}")
