"""Choosing what to label: values from the authors' programs, properties, and a planted set of copies."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.kmeans import kmeans
from selfsup.curation.labelling import (
    covered_by,
    covering,
    k_centre,
    margins,
    pure_radius,
    typical,
    uncertain,
)
from tests.curation.golden import UNIT, X, stream


@pytest.fixture(scope="module")
def six() -> Tensor:
    found = kmeans(X, 6, stream())
    assert found.assigned.bincount().tolist() == [17, 10, 8, 9, 9, 7]
    return found.assigned


def test_typical_rows_are_those_of_the_authors_program(six):
    assert typical(X, 8, six).tolist() == [37, 7, 13, 25, 22, 32, 0, 3]
    assert typical(X, 4, six, torch.arange(4)).tolist() == [13, 25, 32, 37]


@pytest.mark.parametrize(
    ("radius", "chosen", "covered"),
    [
        (0.5, [3, 13, 22, 30, 4, 15], 34),
        (0.75, [0, 1, 3, 52, 38, 4], 46),
        (1.0, [59, 10, 7, 5, 32, 15], 58),
    ],
)
def test_covering_rows_are_those_of_the_authors_program(radius, chosen, covered):
    found = covering(UNIT, 6, radius)
    assert found.tolist() == chosen
    assert int(covered_by(UNIT, found, radius).sum()) == covered


def test_the_radius_is_the_largest_whose_balls_are_pure():
    assigned = kmeans(UNIT, 6, stream()).assigned
    radius = pure_radius(UNIT, assigned)
    other = assigned[:, None] != assigned
    near = torch.cdist(UNIT, UNIT).masked_fill(~other, torch.inf).amin(1)
    shares = [float((near >= at).double().mean()) for at in (0.35, 0.4, 0.45, radius, radius + 1e-6)]
    assert shares[:3] == pytest.approx([1, 0.9667, 0.8833], abs=1e-4)
    assert shares[3] >= 0.95 > shares[4]
    assert 0.4 <= radius < 0.45


def test_farthest_first_from_a_row_and_from_the_one_nearest_the_mean():
    chosen, radius = k_centre(X, 8, first=0)
    assert chosen.tolist() == [0, 39, 44, 15, 5, 13, 1, 40]
    assert radius == pytest.approx(1.401463723, abs=1e-9)
    assert k_centre(X, 8)[0].tolist() == [45, 5, 15, 29, 54, 39, 44, 51]
    # What is labelled already is where the search begins.
    assert k_centre(X, 5, labelled=torch.tensor([0, 39, 44]))[0].tolist() == [15, 5, 13, 1, 40]


def test_nothing_is_chosen_twice_however_many_are_asked_for(six):
    labelled = torch.tensor([5, 20, 59])
    margin = torch.rand(60, generator=torch.Generator().manual_seed(0))
    for chosen in (
        typical(X, 57, six, labelled),
        covering(UNIT, 57, 0.5, labelled),
        k_centre(X, 57, labelled=labelled)[0],
        uncertain(margin, 57, six, labelled),
    ):
        assert sorted([*chosen.tolist(), *labelled.tolist()]) == list(range(60))
    with pytest.raises(ValueError, match="58 of 57"):
        typical(X, 58, six, labelled)


def test_copies_of_one_image_are_asked_for_once():
    """Twenty copies beside four groups: coverage and k-centre take one of them, as chance would not."""
    generator = torch.Generator().manual_seed(1)
    centres = F.normalize(torch.randn(5, 16, generator=generator))
    spread = torch.tensor([0.0] + [0.05] * 4)
    group = torch.arange(5).repeat_interleave(20)
    x = F.normalize(centres[group] + spread[group, None] * torch.randn(100, 16, generator=generator))
    for chosen in (covering(x, 5, 0.6), k_centre(x, 5)[0], typical(x, 5, group)):
        assert sorted(group[chosen].tolist()) == [0, 1, 2, 3, 4]


def test_uncertain_rows_come_from_different_clusters_first():
    scores = torch.tensor([[0.5, 0.5], [0.5, 0.4], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    assert margins(scores).tolist() == pytest.approx([0, 0.1, 0.8, 0.2, 1.0])
    assigned = torch.tensor([0, 0, 1, 1, 1])
    assert uncertain(margins(scores), 4, assigned, torch.tensor([4])).tolist() == [0, 3, 1, 2]
