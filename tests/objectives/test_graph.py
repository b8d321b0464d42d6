"""Losses over a relation of samples: which rows count."""

import torch

from selfsup.objectives import triplet
from tests.objectives.references import triplet_reference


def test_a_row_that_belongs_with_all_is_left_out_of_the_mean() -> None:
    z = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    positives = torch.eye(4, dtype=torch.bool)
    positives[0] = True  # the first sample has no negatives
    expected = triplet_reference(z, positives)
    torch.testing.assert_close(triplet(z, positives), expected)
    assert expected > 0.1
