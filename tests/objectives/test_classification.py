from typing import Any

import pytest
import torch

from selfsup.objectives import diet, floors


def test_diet_of_a_view_that_is_known_falls_and_of_one_that_is_sure_rises_again() -> None:
    """The smoothed label keeps the logits bounded."""
    losses = [float(diet(scale * torch.eye(50), torch.arange(50))) for scale in (0, 1, 2, 3, 20)]
    assert losses[0] == pytest.approx(floors.diet(50), abs=1e-5)
    assert losses[0] > losses[1] > losses[2] > floors.diet_least(50)
    assert losses[4] > losses[0]


def test_without_smoothing_the_least_is_nothing() -> None:
    assert floors.diet_least(50, 0.0) == 0
    assert float(diet(100 * torch.eye(50), torch.arange(50), smoothing=0.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.ones(4)}, r"logits must have the shape \(N, S\)"),
        ({"index": torch.arange(3)}, r"index must be int64 of the shape \(4,\), got torch.int64 \(3,\)"),
        ({"index": torch.arange(4).int()}, r"index must be int64 of the shape \(4,\), got torch.int32"),
        ({"index": torch.tensor([0, 1, 2, 5])}, "index must be from 0 to 4, got 5"),
        ({"index": torch.tensor([0, 1, -1, 4])}, "index must be from 0 to 4, got -1"),
        ({"smoothing": 1.0}, "smoothing must be below 1, got 1.0"),
        ({"smoothing": -0.1}, "smoothing must be at least 0, got -0.1"),
        ({"logits": torch.ones(0, 5), "index": torch.ones(0).long()}, "logits must hold at least one view"),
    ],
)
def test_diet_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diet(**{"logits": torch.ones(4, 5), "index": torch.arange(4), **change})
