"""What each method promises beyond its objective: what the encoder sees, what is frozen, what moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.parts import Part, Teacher
from selfsup.objectives import swav
from tests.methods.building import SMALL, batch_of, build, images


@contextmanager
def counted_tokens(method: Method) -> Iterator[list[int]]:
    """Lengths of the sequences that reach the encoder's first block."""
    lengths: list[int] = []
    block: Any = method.encoder.model.blocks[0]  # type: ignore[index, union-attr]
    handle = block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    yield lengths
    handle.remove()


def test_mae_encodes_a_quarter_of_the_tokens() -> None:
    method = build("method=mae")
    with counted_tokens(method) as lengths:
        method.loss(batch_of(method))
    assert lengths == [36 // 4 + 1]  # and the class token


def test_mae_decoder_puts_visible_patches_where_they_were() -> None:
    method = build("method=mae")
    seen: list[torch.Tensor] = []
    method.decoder.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    keep = torch.tensor([[3, 7], [0, 35]])
    sequence = torch.randn(2, 1 + 2, 32)
    method.decode(sequence, keep)  # type: ignore[operator]
    content = seen[0] - method.decoder.pos_embed  # type: ignore[operator, union-attr]
    embedded = method.embed(sequence)  # type: ignore[operator]
    torch.testing.assert_close(content[0, 1 + 3], embedded[0, 1])
    torch.testing.assert_close(content[1, 1 + 35], embedded[1, 2])
    torch.testing.assert_close(content[0, 1 + 4], method.decoder.mask_token[0, 0], atol=1e-6, rtol=0)  # type: ignore[union-attr]


def test_jepa_context_excludes_the_targets_and_the_teacher_sees_all() -> None:
    method = build("method=jepa")
    with counted_tokens(method) as lengths:
        output = method.loss(batch_of(method))
    output.loss.backward()
    assert lengths[0] < 36 - 6
    assert all(p.grad is None for p in method.teacher.parameters())  # type: ignore[union-attr]
    assert float(output.scalars["target_std"]) > 0


def test_jepa_teacher_follows_the_student_on_a_line() -> None:
    method = build("method=jepa", "method.momentum.start=0.9", "method.momentum.end=1.0")
    student = next(p for p in method.encoder.parameters() if p.requires_grad)
    teacher = next(p for p in method.teacher.parameters() if p.shape == student.shape)  # type: ignore[union-attr]
    before = teacher.clone()
    with torch.no_grad():
        student.add_(1.0)
    method.after_step(50, 100)
    torch.testing.assert_close(teacher, 0.95 * before + 0.05 * student)


@pytest.mark.parametrize(("lag", "expected"), [(None, 1.0), (0.1, 0.5 ** (1 / 10)), (0.001, 0.5 ** (1 / 4))])
def test_a_teacher_lags_no_further_than_a_share_of_the_run(lag: float | None, expected: float) -> None:
    student = torch.nn.Linear(1, 1, bias=False)
    teacher = Teacher(student, {"start": 1.0, "end": 1.0, "lag": lag})
    student.weight.data.fill_(0.0)
    teacher.module.weight.data.fill_(1.0)  # type: ignore[union-attr, operator]
    for step in range(3):
        teacher.after_step(step, 100)
    assert teacher.module.weight.item() == pytest.approx(expected**3)  # type: ignore[union-attr, operator]


def test_teacher_is_averaged_once_an_optimizer_step_however_many_batches_are_accumulated() -> None:
    averaged: list[int] = []

    class Counter(Part):
        def after_step(self, step: int, steps: int) -> None:
            averaged.append(step)

    method = build("method=jepa")
    method.add_module("counter", Counter())
    batch = {"image": images(), "index": torch.arange(8), "epoch": 0}
    trainer = pl.Trainer(
        max_epochs=1,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, DataLoader([batch] * 6, batch_size=None))
    assert averaged == [0, 1, 2]


def test_layer_decay_slows_the_lower_layers() -> None:
    method = build("method=simclr", "method.optimizer.layer_decay=0.5")
    optimizer = method.configure_optimizers()
    method.set_rates(optimizer, 50, 100)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    vit: Any = method.encoder.model
    head = next(p for name, p in method.named_parameters() if not name.startswith("encoder"))
    full = rates[id(head)]
    assert full > 0
    assert rates[id(vit.blocks[1].attn.qkv.weight)] == pytest.approx(full / 2)
    assert rates[id(vit.blocks[0].attn.qkv.weight)] == pytest.approx(full / 4)
    assert rates[id(vit.patch_embed.proj.weight)] == pytest.approx(full / 8)


@pytest.mark.parametrize("backbone", ["vit_mini", "resnet10"])
def test_dino_teacher_starts_as_the_student_with_its_head(backbone: str) -> None:
    method = build("method=dino", f"backbone={backbone}")
    for student, teacher in zip((method.encoder, method.head), method.teacher.module, strict=True):  # type: ignore[union-attr, arg-type]
        theirs = teacher.state_dict()
        for key, value in student.state_dict().items():  # type: ignore[union-attr]
            assert torch.equal(value, theirs[key]), key
        assert not any(p.requires_grad for p in teacher.parameters())


def test_dino_last_layer_stands_still_while_frozen_and_moves_after() -> None:
    method = build("method=dino", "method.freeze_last_layer=0.5")
    optimizer = method.configure_optimizers()
    last = method.head.last_layer.weight_v  # type: ignore[union-attr]
    moved = []
    for step in (0, 4, 5):
        before = last.detach().clone()  # type: ignore[operator]
        method.loss(batch_of(method, step=step, steps=10)).loss.backward()
        method.before_update(step, 10)
        optimizer.step()
        optimizer.zero_grad()
        moved.append(not torch.equal(before, last))  # type: ignore[arg-type]
    assert moved == [False, False, True]


def test_dino_centre_moves_after_the_step_whose_loss_used_it() -> None:
    method = build("method=dino")
    batch = batch_of(method)
    expected = 0.1 * method.teacher(torch.cat(batch.views[:2])).mean(dim=0)  # type: ignore[operator, arg-type]
    first = method.loss(batch).loss
    torch.testing.assert_close(method.loss(batch).loss, first)
    method.after_step(0, 100)
    torch.testing.assert_close(method.center.value, expected)  # type: ignore[union-attr]


def test_dino_balances_its_targets_where_asked() -> None:
    settings = ("method.centering=sinkhorn", "method.teacher_temperature.start=0.05")
    method = build("method=dino", "method.head.batch_norm=false", *settings)
    batch = batch_of(method)
    with torch.no_grad():
        student = torch.stack([method.head(method.encoder(view)) for view in batch.views])  # type: ignore[operator]
        teacher = method.teacher(torch.cat(batch.views[:2])).unflatten(0, (2, -1))  # type: ignore[operator, arg-type]
    expected = swav(student, teacher, 0.1, 0.05)
    torch.testing.assert_close(method.loss(batch).loss, expected, rtol=1e-4, atol=0)
    assert method.center.value.abs().max() == 0  # type: ignore[union-attr, operator]
    with pytest.raises(UsageError, match=r"method\.centering is mean or sinkhorn, got 'balanced'"):
        build("method=dino", "method.centering=balanced")


def test_dino_clips_each_tensor_by_itself() -> None:
    method = build("method=dino", "method.freeze_last_layer=0.0", "method.optimizer.clip=0.5")
    for parameter in method.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    method.before_update(50, 100)
    norms = torch.stack([p.grad.norm() for p in method.parameters() if p.grad is not None])
    torch.testing.assert_close(norms, torch.full_like(norms, 0.5), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("method=simclr", "views=mae"), "compares 2 views"),
        (("method=mae", "views=dino"), "take views=mae"),
        (("method=jepa", "backbone=convnext_atto"), "vision transformer"),
    ],
)
def test_impossible_combinations_are_one_sentence(overrides: tuple[str, ...], words: str) -> None:
    config = load_config("train", overrides)
    with pytest.raises(UsageError, match=words):
        make_method(config, make_encoder(config), devices=1)


def test_any_method_takes_any_plan_with_enough_views() -> None:
    method = build("method=simclr", "views=dino")
    assert torch.isfinite(method.loss(batch_of(method)).loss)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=mae", "method.mask_ratio=0.999"], "hides 36 of 6 x 6 patches"),
        (["method=mae", "backbone.model_args.patch_size=24"], "there is one patch; set a smaller"),
        (
            ["method=mae", "method.decoder.heads=5"],
            "decoder.heads is 5, which does not divide .*take 4 heads",
        ),
        (["method=mae", "method.decoder.width=6"], "decoder.width is 6; it has to be a multiple of 4"),
        (["method=jepa", "method.predictor.heads=7"], "predictor.heads is 7, which does not divide"),
        (["method=jepa", "method.predictor.width=2"], "predictor.width is 2; it has to be a multiple of 4"),
        (["method=jepa", "method.masks.target_scale=[1,1]"], "method.masks do not work on 6 x 6 patches"),
        (["method=jepa", "method.masks.context_size=36"], "method.masks do not work on 6 x 6 patches"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_told_when_the_method_is_made(overrides, words) -> None:
    config = load_config("train", [*SMALL, *overrides])  # each by itself lies in its range
    encoder = make_encoder(config)
    with pytest.raises(UsageError, match=words):
        make_method(config, encoder, 1)
