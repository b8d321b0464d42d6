"""GMML corrupts groups of patches, leaves the others as they are, and is judged by the corrupted ones."""

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.objectives import patchify
from tests.methods.building import batch_of, build

SHARES = ("noise=0.3", "alien=0.2", "grey=0.2", "flat=0.2")


@pytest.fixture(scope="module")
def method() -> Any:
    return build("method=gmml", *(f"method.corruptions.{share}" for share in SHARES)).eval()


def drawn(method: Any, batch: Batch) -> dict[str, Tensor]:
    """What each corruption takes, where no later one takes it too."""
    batch.generator.manual_seed(batch.generator.initial_seed())
    masks = {name: mask(len(batch), batch)[1] for name, mask in method.masks.items()}
    batch.generator.manual_seed(batch.generator.initial_seed())
    later, last = torch.zeros(len(batch), 36, dtype=torch.bool), {}
    for name, hidden in reversed(masks.items()):
        last[name], later = hidden & ~later, later | hidden
    return last


def test_each_corruption_puts_its_own_in_the_place_of_patches_and_leaves_the_rest(method: Any) -> None:
    batch = batch_of(method)
    patches = patchify(batch.images, method.encoder.patch_size)
    masks = drawn(method, batch)
    corrupted, touched = method.corrupt(patches, batch)
    assert torch.equal(touched, torch.stack(list(masks.values())).any(0))
    assert torch.equal(corrupted[~touched], patches[~touched])
    neighbours = torch.stack([patches[k - 1] for k in range(8)])
    assert torch.equal(corrupted[masks["alien"]], neighbours[masks["alien"]])
    assert corrupted[masks["grey"]].abs().max() == 0
    mean = patches.mean(1, keepdim=True).expand_as(patches)
    torch.testing.assert_close(corrupted[masks["flat"]], mean[masks["flat"]])
    noise = corrupted[masks["noise"]]
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert (noise - patches[masks["noise"]]).abs().amin(-1).max() > 0


def test_its_loss_is_the_absolute_error_of_corrupted_values_as_they_were(method: Any) -> None:
    batch = batch_of(method)
    loss = method.loss(batch).loss
    batch.generator.manual_seed(batch.generator.initial_seed())
    target = patchify(batch.images, method.encoder.patch_size)
    corrupted, touched = method.corrupt(target, batch)
    torch.testing.assert_close(loss, (method.paint(corrupted) - target)[touched].abs().mean())


def test_the_encoder_computes_the_whole_corrupted_image(method: Any) -> None:
    images = batch_of(method).images
    painted = method.paint(patchify(images, method.encoder.patch_size))
    torch.testing.assert_close(painted, method.head(method.encoder.tokens(images)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("corruptions.noise=0", "corruptions.alien=0"), r"method\.corruptions corrupt nothing; give one "),
        (("masking=conected",), r"method\.masking is one of .*, got 'conected'$"),
        (
            ("corruptions.alien=0.99", "corruptions.noise=0"),
            r"method\.corruptions\.alien=0\.99 hides 36 of 6 x 6 patches",
        ),
        (("corruptions.alien=0.6",), r"method\.corruptions add up to 1\.1 .* less than 1$"),
    ],
)
def test_refuses_in_a_sentence_what_corrupts_nothing_or_all(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("method=gmml", *(f"method.{setting}" for setting in settings))
