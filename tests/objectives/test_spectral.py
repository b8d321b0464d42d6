import pytest
import torch

from selfsup.objectives import frossl

from .declarations import THREE


def test_needs_two_views_and_a_weight_that_is_not_negative() -> None:
    with pytest.raises(ValueError, match="z must hold at least two views, got 1"):
        frossl(THREE[:1])
    with pytest.raises(ValueError, match=r"z must have the shape \(V, N, D\), got \(12, 6\)"):
        frossl(THREE[0])
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        frossl(THREE, weight=-1.0)


def test_a_dimension_of_zeros_has_no_gradient() -> None:
    z = THREE.clone()
    z[..., 2] = 0
    z.requires_grad_()
    frossl(z).backward()
    assert z.grad is not None
    assert torch.equal(z.grad[..., 2], torch.zeros(3, 12).double())
    assert z.grad.isfinite().all()
