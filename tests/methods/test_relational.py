"""Relational reasoning's head sees the pairs of one image and of two in one batch."""

from typing import Any

import torch

from selfsup.objectives import relational
from tests.methods.building import batch_of, build


def test_the_head_is_asked_about_every_two_views_and_as_often_about_two_images() -> None:
    method: Any = build("method=relational")
    asked: list[torch.Tensor] = []
    method.head.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    output = method.loss(batch_of(method))
    (pairs,) = asked
    assert pairs.shape == (2 * 6 * 8, 2 * 32)
    views = torch.stack(list(output.features))
    torch.testing.assert_close(pairs[:8], torch.cat([views[0], views[1]], dim=1))
    torch.testing.assert_close(pairs[40:48], torch.cat([views[2], views[3]], dim=1))
    torch.testing.assert_close(pairs[48:56], torch.cat([views[0], views[1].roll(1, 0)], dim=1))
    torch.testing.assert_close(pairs[88:], torch.cat([views[2], views[3].roll(6, 0)], dim=1))


def test_its_loss_and_the_share_accuracy_are_of_the_heads_scores() -> None:
    method: Any = build("method=relational", "method.gamma=0")
    answers = torch.linspace(-1, 1, 96)[:, None]
    method.head.register_forward_hook(lambda *_: answers)
    output = method.loss(batch_of(method))
    torch.testing.assert_close(output.loss, relational(answers[:48], answers[48:], gamma=0.0))
    assert float(output.scalars["accuracy"]) == 0
    answers.neg_()
    assert float(method.loss(batch_of(method)).scalars["accuracy"]) == 1
