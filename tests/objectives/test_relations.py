import pytest
import torch

from selfsup.objectives import ressl

from .declarations import QUEUE, Z1, Z2


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
