import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.objectives import nt_xent, ressl, same_class, sup_con

from .declarations import QUEUE, THREE, Z1, Z2, wave


@pytest.mark.parametrize("name", ["student_temperature", "teacher_temperature"])
def test_refuses_a_temperature_of_zero(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0, got 0"):
        ressl(Z1, Z2, QUEUE, **{name: 0.0})


def test_keys_and_queue_have_no_gradient() -> None:
    query, key, queue = (z.clone().requires_grad_() for z in (Z1, Z2, QUEUE))
    ressl(query, key, queue).backward()
    assert query.grad is not None
    assert key.grad is None
    assert queue.grad is None


def test_its_least_value_is_the_teachers_entropy() -> None:
    """Which the published numbers give beside the loss."""
    entropy = (
        torch.special.entr((Z2 / Z2.norm(dim=1, keepdim=True) @ QUEUE.T / 0.04).softmax(1)).sum(1).mean()
    )
    assert float(entropy) == pytest.approx(0.326563258, abs=1e-9)
    assert float(ressl(Z1, Z2, QUEUE) - entropy) == pytest.approx(1.517179981, abs=1e-9)


def gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_positives_of_themselves_alone_give_nt_xent(temperature: float) -> None:
    z1, z2 = Z1.clone().requires_grad_(), Z2.clone().requires_grad_()
    ours = sup_con(torch.stack([z1, z2]), torch.eye(12).bool(), temperature)
    simclr = nt_xent(z1, z2, temperature)
    torch.testing.assert_close(ours, simclr, rtol=1e-12, atol=0)
    for gradient, wanted in zip(gradients(ours, z1, z2), gradients(simclr, z1, z2), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-12)


def test_a_sample_is_its_own_positive_whatever_is_said() -> None:
    positives = same_class(torch.arange(12) % 3)
    said = positives & ~torch.eye(12).bool()
    assert torch.equal(sup_con(THREE, said), sup_con(THREE, positives))
    weights = said.double()
    assert torch.equal(sup_con(THREE, weights), sup_con(THREE, positives.double()))
    assert torch.equal(weights, said.double())


def test_weights_count_by_their_ratio_and_of_ones_are_a_relation() -> None:
    positives = same_class(torch.arange(12) % 3)
    torch.testing.assert_close(sup_con(THREE, positives.double()), sup_con(THREE, positives))
    # Of one view a sample has no weight of its own, and only ratios count.
    weights = wave(0.3, 12, 12) ** 2
    torch.testing.assert_close(sup_con(THREE[:1], 7 * weights), sup_con(THREE[:1], weights))


def test_rows_without_a_positive_are_left_out_and_still_repel() -> None:
    labels = torch.tensor([0, 0, 1])
    z = torch.eye(3).double()
    z[2] = z[0]
    # Rows 0 and 1 are positives, with similarities 0; row 2 is as row 0, and has no positive.
    expected = torch.tensor([1 + math.exp(1 / 0.5), 2.0]).log().mean()
    assert float(sup_con(z[None], same_class(labels), 0.5)) == pytest.approx(float(expected), abs=1e-6)


def test_the_gradient_of_an_alone_row_is_zero_and_not_nan() -> None:
    z = Z1[None].clone().requires_grad_()
    (gradient,) = gradients(sup_con(z, torch.eye(12).bool()), z)
    assert torch.equal(gradient, torch.zeros_like(z))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": Z1}, r"z must have the shape \(V, N, D\)"),
        ({"positives": torch.eye(12)[:, :11].bool()}, r"positives must have the shape \(12, 12\), got"),
        ({"positives": torch.eye(12).long()}, "positives must be a floating-point tensor, got torch.int64"),
        ({"positives": -torch.eye(12)}, "the least of positives must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"base_temperature": 0.0}, "base_temperature must be above 0"),
        ({"z": THREE[:, :1], "positives": torch.ones(1, 1).bool()}, "z must hold at least two samples"),
        ({"z": THREE[:0]}, "z must hold at least two samples"),
    ],
)
def test_sup_con_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sup_con(**{"z": THREE, "positives": torch.eye(12).bool(), **change})


@pytest.mark.parametrize("labels", [torch.arange(3).int(), torch.ones(3), torch.ones(3, 1).long()])
def test_classes_are_whole_numbers(labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"labels must be int64 of the shape \(N\), got"):
        same_class(labels)
