"""The shortest combination of gradients: published numbers, optimality, and the ends."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from selfsup.optim import minimum_norm
from tests.objectives.declarations import wave

G = wave(0.6, 3, 7)


def norm(gram: Tensor, weights: Tensor) -> float:
    return float(weights @ gram @ weights)


@pytest.mark.parametrize(
    ("pair", "first", "squared"),
    [
        ((0, 1), 0.516917657, 1.437399669),
        ((0, 2), 0.512354359, 1.497078209),
        ((1, 2), 0.494674692, 1.638507063),
    ],
)
def test_two_gradients_have_the_published_weights(
    pair: tuple[int, int], first: float, squared: float
) -> None:
    gram = G[list(pair)] @ G[list(pair)].T
    weights = minimum_norm(gram)
    assert weights.tolist() == pytest.approx([first, 1 - first], abs=1e-9)
    assert norm(gram, weights) == pytest.approx(squared, abs=1e-9)


@pytest.mark.parametrize(
    ("gradients", "expected", "squared"),
    [
        (G, (0.356304290, 0.324932920, 0.318762790), 0.763363900),
        (torch.nn.functional.normalize(G), (0.344258190, 0.333993580, 0.321748230), 0.201130806),
    ],
)
def test_three_gradients_have_the_published_weights(
    gradients: Tensor, expected: tuple[float, ...], squared: float
) -> None:
    gram = gradients @ gradients.T
    weights = minimum_norm(gram)
    assert weights.tolist() == pytest.approx(expected, abs=1e-8)
    assert norm(gram, weights) == pytest.approx(squared, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("losses", [1, 2, 3, 5])
def test_no_other_weights_are_shorter_and_each_loss_falls_along_the_sum(seed: int, losses: int) -> None:
    """The optimum by going through all sets of losses with weights: each is a linear system."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 10 ** torch.randn(losses, 1, generator=generator, dtype=torch.float64)
    rows = (torch.randn(losses, 6, generator=generator, dtype=torch.float64) + 0.5) * lengths
    gram = rows @ rows.T
    weights = minimum_norm(gram)
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    shortest = []
    for count in range(1, losses + 1):
        for part in combinations(range(losses), count):
            solved = torch.linalg.solve(gram[part, :][:, part], torch.ones(count, dtype=torch.float64))
            if (solved > 0).all():
                shortest.append(1 / float(solved.sum()))
    assert norm(gram, weights) == pytest.approx(min(shortest), rel=1e-6)
    products = gram @ weights
    assert float(products.min()) >= norm(gram, weights) * (1 - 1e-6)
    used = products[weights > 0]
    torch.testing.assert_close(used, used[:1].expand_as(used), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_ends_are_exact(order: list[int]) -> None:
    """A gradient that is a part of another is the shortest of all their mixtures."""
    rows = torch.tensor([[3.0, 0.1], [1.0, 0.0]], dtype=torch.float64)[order]
    assert minimum_norm(rows @ rows.T).tolist() == [float(k) for k in order]


def test_opposite_gradients_cancel_and_equal_ones_share() -> None:
    assert minimum_norm(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).tolist() == [0.5, 0.5]
    assert minimum_norm(torch.ones(4, 4)).tolist() == [0.25] * 4
    assert minimum_norm(torch.tensor([[9.0]])).tolist() == [1.0]


def test_scales_do_not_matter() -> None:
    gram = G @ G.T
    for scale in (1e-12, 1e12):
        torch.testing.assert_close(minimum_norm(scale * gram), minimum_norm(gram), rtol=1e-7, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_gives_weights_all_the_same(bad: float) -> None:
    gram = torch.tensor([[bad, 0.0], [0.0, 1.0]])
    weights = minimum_norm(gram)
    assert weights.isfinite().all()
    assert float(weights.sum()) == 1


@pytest.mark.parametrize("shape", [(2, 3), (0, 0), (2,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="gram must be square"):
        minimum_norm(torch.zeros(shape))
