import pytest
import torch

from selfsup.objectives import byol, simsiam

from .declarations import P1, P2, Z1, Z2


def test_both_directions_of_byol_are_the_published_number() -> None:
    assert float(byol(P1, Z2) + byol(P2, Z1)) == pytest.approx(5.484831504, abs=1e-9)


def test_simsiam_is_byol_halved_less_one() -> None:
    torch.testing.assert_close(simsiam(P1, Z2), byol(P1, Z2) / 2 - 1, rtol=1e-12, atol=0)


@pytest.mark.parametrize("objective", [byol, simsiam])
def test_no_gradient_reaches_the_target_and_none_changes_a_length(objective) -> None:
    prediction, target = P1.clone().requires_grad_(), Z2.clone().requires_grad_()
    objective(prediction, target).backward()
    assert target.grad is None
    assert prediction.grad is not None
    torch.testing.assert_close((prediction * prediction.grad).sum(1), torch.zeros(12).double())


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), "target must have the shape of prediction"),
        (torch.ones(4), torch.ones(4), r"prediction must have the shape \(N, D\)"),
        (torch.ones(0, 3), torch.ones(0, 3), "prediction must hold at least one sample, got none"),
    ],
)
def test_refuses(prediction: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        byol(prediction, target)
