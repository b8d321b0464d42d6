"""iBOT hides patches of some large views from the student, and asks there what the teacher sees."""

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.objectives import dino, ibot, swav
from tests.methods.building import batch_of, build


@pytest.fixture(scope="module")
def method() -> Any:
    made: Any = build("method=ibot", "method.patch_weight=0.5").eval()
    with torch.no_grad():  # away from 0, so that it counts that they are used
        made.token.normal_()
        made.center.value.normal_(std=0.1)
        made.patch_center.value.normal_(std=0.1)
    return made


@pytest.fixture(scope="module")
def separate() -> Any:
    return build("method=dinov2", "method.patch_weight=0").eval()


def teachers(made: Any) -> tuple[Any, Any, Any]:
    """The teacher's encoder and its heads of images and of patches."""
    encoder, head = made.teacher.module
    return encoder, head, head if made.patch_teacher is None else made.patch_teacher.module


def again(batch: Any) -> Any:
    """The batch, from whose generator the same is drawn once more."""
    batch.generator.manual_seed(batch.generator.initial_seed())
    return batch


@torch.no_grad()
def test_the_student_has_a_token_where_patches_are_hidden_and_the_teacher_sees_all(method: Any) -> None:
    batch = batch_of(method)
    hidden, _, _ = method.hide(16, batch)
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    handles = [
        encoder.model.blocks[0].register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(inputs[0])
        )
        for name, encoder in (("student", method.encoder), ("teacher", method.learned_encoder()))
    ]
    method.loss(again(batch))
    for handle in handles:
        handle.remove()
    assert [len(each) for each in seen.values()] == [2, 1]  # small views are the student's alone
    large, model = torch.cat(list(batch.views[:2])), method.encoder.model
    embedded = model.patch_embed(large).flatten(1, 2)
    masked = torch.where(hidden.unsqueeze(-1), method.token, embedded)
    torch.testing.assert_close(seen["student"][0], masked + model.pos_embed)
    torch.testing.assert_close(seen["teacher"][0], embedded + model.pos_embed)


@pytest.mark.parametrize(("n", "masked"), [(16, 8), (7, 4), (1, 1)])
def test_half_of_the_large_views_lose_a_tenth_to_a_half_of_their_patches(
    method: Any, n: int, masked: int
) -> None:
    hidden, index, weight = method.hide(n, batch_of(method))
    numbers = hidden.sum(1)
    assert (numbers > 0).sum() == masked
    assert numbers[numbers > 0].min() >= 4  # 0.1 of 36 patches, rounded
    assert numbers.max() <= 18
    assert torch.equal(index, hidden.flatten().nonzero().squeeze(1))
    of_view = torch.zeros(n).index_add(0, index // 36, weight)
    torch.testing.assert_close(of_view, (numbers > 0) / n)


def test_ratios_of_a_batch_are_spread_over_their_range(method: Any) -> None:
    batch = batch_of(method)
    for _ in range(8):
        numbers = method.hide(16, batch)[0].sum(1).sort().values[8:].view(4, 2)
        for quarter, two in enumerate(numbers):
            assert two.min() >= 36 * (0.1 + 0.1 * quarter) - 0.5
            assert two.max() <= 36 * (0.2 + 0.1 * quarter) + 0.5


@torch.no_grad()
def test_its_loss_is_dinos_of_images_and_the_mean_over_images_of_their_hidden_patches(method: Any) -> None:
    batch = batch_of(method, steps=10)
    output = method.loss(batch)
    hidden, _, _ = method.hide(16, again(batch))
    large = torch.cat(list(batch.views[:2]))
    encoder, head, patch_head = teachers(method)
    sequence = method.encoder.sequence(large, mask=hidden, token=method.token)
    small = [method.head(method.encoder(view)) for view in batch.views[2:]]
    student = torch.stack([*method.head(sequence.mean(1)).chunk(2), *small])
    teacher = torch.stack(head(encoder(large)).chunk(2))
    images = dino(student, teacher, method.center.value, 0.1, 0.04)
    torch.testing.assert_close(output.scalars["images"], images, rtol=1e-4, atol=1e-5)

    ours, theirs = method.patch_head(sequence.flatten(0, 1)), patch_head(encoder.tokens(large).flatten(0, 1))
    targets = ((theirs - method.patch_center.value) / 0.04).softmax(-1)
    each = -(targets * (ours / 0.1).log_softmax(-1)).sum(-1).view(16, 36)
    patches = sum(each[k][hidden[k]].mean() for k in range(16) if hidden[k].any()) / 16
    torch.testing.assert_close(output.scalars["patches"], patches, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.loss, images + 0.5 * patches, rtol=1e-4, atol=1e-5)

    before = method.patch_center.value.clone()
    method.after_step(0, 100)
    expected = 0.9 * before + 0.1 * theirs[hidden.flatten()].mean(0)
    torch.testing.assert_close(method.patch_center.value, expected, rtol=1e-4, atol=1e-5)


def test_a_shared_head_is_one_in_the_teacher_too(method: Any, separate: Any) -> None:
    for made, shared in ((method, True), (separate, False)):
        encoder, head, patch_head = teachers(made)
        assert (made.head is made.patch_head) is shared
        assert (head is patch_head) is shared
        assert encoder is made.learned_encoder()
    separate.patch_teacher.momentum = {"start": 0.5, "end": 0.5}
    student, teacher = separate.patch_head.layers[0].weight, separate.patch_teacher.module.layers[0].weight
    with torch.no_grad():
        student.add_(1.0)
    expected = (student + teacher).detach() / 2
    separate.after_step(0, 100)
    torch.testing.assert_close(teacher, expected)


@torch.no_grad()
def test_dinov2_balances_the_targets_of_images_and_of_patches(separate: Any) -> None:
    batch = batch_of(separate)
    output = separate.loss(batch)
    hidden, index, weight = separate.hide(16, again(batch))
    large = torch.cat(list(batch.views[:2]))
    sequence = separate.encoder.sequence(large, mask=hidden, token=separate.token)
    small = [separate.encoder(view) for view in batch.views[2:]]
    student = torch.stack([separate.head(each) for each in (*sequence.mean(1).chunk(2), *small)])
    encoder, head, patch_head = teachers(separate)
    images = swav(student, torch.stack(head(encoder(large)).chunk(2)), 0.1, 0.04)
    ours, theirs = (tokens.flatten(0, 1)[index] for tokens in (sequence, encoder.tokens(large)))
    patches = ibot(separate.patch_head(ours), patch_head(theirs), weight, None, 0.1, 0.04)
    torch.testing.assert_close(output.loss, images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.scalars["patches"], patches, rtol=1e-4, atol=1e-5)
    # KoLeo is of the features that the student's large views give.
    assert separate(again(batch)).loss == output.loss + 0.1 * separate.auxiliary["koleo"](
        batch, sequence.mean(1).chunk(2)
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("masking=blok", r"method\.masking is one of .*, got 'blok'$"),
        ("mask_ratio=[0.01,0.5]", r"method\.mask_ratio=0\.01 hides 0 of 6 x 6 patches"),
        ("centering=none", r"method\.centering is mean or sinkhorn, got 'none'$"),
    ],
)
def test_refuses_in_a_sentence_what_it_cannot_do(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("method=ibot", f"method.{setting}")
