from collections.abc import Callable

import pytest
import torch

from selfsup.objectives import frossl, mmcr
from selfsup.objectives.precision import finite_or_not

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


@pytest.mark.parametrize("objective", [frossl, mmcr])
def test_a_diverged_run_has_no_loss_and_no_exception(objective: Callable[..., torch.Tensor]) -> None:
    """As on an accelerator, where nothing is checked."""
    for bad in (torch.nan, torch.inf):
        z = THREE.clone()
        z[1, 3, 2] = bad
        with finite_or_not():
            assert objective(z).isnan()


def test_mmcr_refuses_a_negative_weight() -> None:
    with pytest.raises(ValueError, match="lambda_ must be at least 0, got -1"):
        mmcr(THREE, lambda_=-1.0)


def test_mmcr_with_a_weight_has_the_published_value() -> None:
    """Its gradient is not unique there: the three views lie in a plane."""
    assert float(mmcr(THREE, lambda_=0.005)) == pytest.approx(-7.421200893, abs=1e-9)
