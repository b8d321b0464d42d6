"""The matching is the best of all that are one to one, and what it refuses."""

from itertools import permutations

import pytest
import torch

from selfsup.objectives import hungarian, matched_cells
from selfsup.objectives.precision import finite_or_not

from .declarations import wave


def test_no_other_one_to_one_matching_is_better() -> None:
    similarity = wave(0.3, 4, 5, 6)
    for one, match in zip(similarity, hungarian(similarity).tolist(), strict=True):
        assert len(set(match)) == 5
        totals = [
            sum(float(one[row, column]) for row, column in enumerate(p)) for p in permutations(range(6), 5)
        ]
        assert sum(float(one[row, column]) for row, column in enumerate(match)) == pytest.approx(max(totals))


def test_cells_that_were_permuted_find_their_places() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(3, 16, 8, generator=generator), dim=2)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(3)])
    moved = cells.gather(1, order.unsqueeze(2).expand(-1, -1, 8))
    assert torch.equal(hungarian(moved @ cells.transpose(1, 2)), order)
    # The most similar cell of each would not do: two may have the same.
    alike = torch.tensor([[[0.9, 0.8], [0.7, 0.1]]])
    assert alike.argmax(2).tolist() == [[0, 0]]
    assert hungarian(alike).tolist() == [[1, 0]]


def test_matching_has_no_gradient_and_survives_a_run_that_diverged() -> None:
    similarity = wave(0.3, 2, 3, 3).requires_grad_()
    assert not hungarian(similarity).requires_grad
    broken = torch.full((1, 2, 2), torch.nan)
    with pytest.raises(ValueError, match="similarity must be finite"):
        hungarian(broken)
    with finite_or_not():
        assert sorted(hungarian(broken)[0].tolist()) == [0, 1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no more rows than columns, got \(1, 3, 2\)"):
        hungarian(torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"similarity must have the shape \(N, L, M\)"):
        hungarian(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="cells1 must hold at least two samples, to tell them apart, got 1"):
        matched_cells(torch.ones(1, 3, 4), torch.ones(1, 3, 4))
    with pytest.raises(ValueError, match="at least one cell of each sample"):
        matched_cells(torch.ones(2, 0, 4), torch.ones(2, 0, 4))
    with pytest.raises(ValueError, match="temperature must be above 0"):
        matched_cells(torch.ones(2, 3, 4), torch.ones(2, 3, 4), temperature=0.0)
    with pytest.raises(ValueError, match="cells2 must have the shape of cells1"):
        matched_cells(torch.ones(2, 3, 4), torch.ones(2, 2, 4))


def test_cells_of_one_image_do_not_repel_each_other() -> None:
    """Only what tells images apart has a gradient, not what tells the cells of an image apart."""
    cells = torch.eye(2).repeat_interleave(3, 0).view(2, 3, 2).double().requires_grad_()
    matched_cells(cells, cells.detach().clone(), temperature=0.5).backward()
    assert cells.grad is not None
    assert torch.allclose(cells.grad, cells.grad[:, :1].expand(-1, 3, -1))
