"""data2vec's masks of an image share one pass of the teacher, whose deeper layers are predicted."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfsup.errors import UsageError
from selfsup.methods.data2vec import Decoder
from selfsup.objectives import data2vec_targets
from tests.methods.building import batch_of, build


@pytest.fixture(scope="module")
def method() -> Any:
    """Of three blocks, of which two thirds are the target."""
    return build("method=data2vec", "backbone.model_args.depth=3", "method.class_weight=0.5").eval()


def test_all_masks_share_one_pass_of_the_teacher(method: Any) -> None:
    seen: dict[str, list[tuple[int, int]]] = {"student": [], "teacher": []}
    handles = [
        encoder.model.blocks[0].register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(tuple(inputs[0].shape[:2]))
        )
        for name, encoder in (("student", method.encoder), ("teacher", method.learned_encoder()))
    ]
    method.loss(batch_of(method)).loss.backward()
    for handle in handles:
        handle.remove()
    # A fifth of 36 patches is seen; the class token is another.
    assert seen == {"student": [(4 * 8, 7 + 1)], "teacher": [(8, 36 + 1)]}
    assert all(p.grad is None for p in method.teacher.parameters())
    assert not any(block.mlp._forward_hooks for block in method.learned_encoder().model.blocks)
    method.zero_grad()


@torch.no_grad()
def test_its_target_is_what_the_last_blocks_feed_forward_layers_add(method: Any) -> None:
    images = batch_of(method).images
    model, added = method.learned_encoder().model, []
    x = model._pos_embed(model.patch_embed(images))
    for block in model.blocks:
        x = x + block.attn(block.norm1(x))
        added.append(block.mlp(block.norm2(x)))
        x = x + added[-1]
    torch.testing.assert_close(model.norm(x), method.learned_encoder().sequence(images))
    target = data2vec_targets(torch.stack([each[:, 1:] for each in added[1:]]))
    torch.testing.assert_close(method.answer(images), target, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_its_loss_is_of_the_hidden_patches_and_of_the_class_token(method: Any) -> None:
    batch = batch_of(method)
    loss = method.loss(batch).loss
    batch.generator.manual_seed(batch.generator.initial_seed())
    keep, hidden = method.mask(32, batch)
    assert hidden.sum(1).tolist() == [29] * 32
    assert len(hidden[::8].unique(dim=0)) == 4  # an image's masks differ
    target = method.answer(batch.images)
    target = torch.cat([target] * 4)
    sequence = method.encoder.sequence(torch.cat([batch.images] * 4), keep)
    predicted = method.decoder(sequence[:, 1:], keep, 0.01 * batch.normal(*target.shape))
    patches = (predicted - target)[hidden].square().sum(-1).mean() / 32**0.5
    of_class = (method.predict_class(sequence[:, 0]) - target.mean(1)).square().sum(-1).mean() / 32**0.5
    torch.testing.assert_close(loss, patches + 0.5 * of_class, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_decoder_begins_with_visible_tokens_in_their_places_and_faint_noise_elsewhere() -> None:
    decoder = Decoder(8, (4, 6), width=16, depth=2, kernel=3, groups=4)
    grids: list[Tensor] = []
    decoder.convolutions[0].register_forward_pre_hook(lambda _, inputs: grids.append(inputs[0]))
    keep, visible = torch.tensor([[0, 9, 23], [5, 6, 7]]), torch.randn(2, 3, 8)
    noise = 0.01 * torch.randn(2, 24, 8)
    assert decoder(visible, keep, noise).shape == (2, 24, 8)
    for grid, places, tokens in zip(grids[0], keep, visible, strict=True):
        rows, columns = places // 6, places % 6
        assert torch.equal(grid[:, rows, columns].T, tokens)
        grid[:, rows, columns] = 0
        assert 0 < grid.abs().max() < 0.06
    # Without their norm, two layers of 3 x 3 reach two places far.
    decoder.norm = nn.Identity()
    before = decoder(visible, keep, noise)
    visible[0, 0] += 1.0  # of the patch in the first row and column
    changed = (decoder(visible, keep, noise) - before).abs().amax(-1)[0].view(4, 6) > 1e-6
    assert changed[:3, :3].all()
    assert changed.sum() == 9


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("layers=3", r"method\.layers is 3, and the backbone has 2 blocks; take 2 or fewer$"),
        ("decoder.kernel=4", r"method\.decoder\.kernel is 4; take an odd number, such as 3$"),
        ("decoder.groups=3", r"method\.decoder\.groups is 3, which does not divide 128 and 32, .*such as 1$"),
        ("masking=invers", r"method\.masking is one of .*, got 'invers'$"),
    ],
)
def test_refuses_in_a_sentence_settings_that_do_not_fit(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("method=data2vec", f"method.{setting}")
