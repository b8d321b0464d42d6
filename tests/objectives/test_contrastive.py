import math

import pytest
import torch

from selfsup.objectives import dcl, moco, moco_v3, nnclr, nt_xent

from .declarations import P1, P2, QUEUE, Z1, Z2, inputs_for


def test_orthonormal_pairs() -> None:
    z, t, n = torch.eye(8, dtype=torch.float64), 0.3, 8
    expected = -1 / t + math.log(math.exp(1 / t) + 2 * n - 2)
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_simplex_of_pairs() -> None:
    n, t = 6, 0.5
    z = torch.eye(n, dtype=torch.float64) - 1 / n
    expected = -1 / t + math.log(math.exp(1 / t) + (2 * n - 2) * math.exp(-1 / ((n - 1) * t)))
    assert float(nt_xent(z, z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_a_tiny_temperature_does_not_overflow() -> None:
    inputs = {name: x.float() for name, x in inputs_for("nt_xent").items()}
    assert nt_xent(**inputs, temperature=1e-3).isfinite()


@pytest.mark.parametrize(
    ("z1", "z2", "temperature", "message"),
    [
        (torch.ones(4, 3), torch.ones(5, 3), 0.1, "z2 must have the shape of z1"),
        (torch.ones(4, 3, 1), torch.ones(4, 3, 1), 0.1, r"z1 must have the shape \(N, D\)"),
        (torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64), 0.1, "z2 must be a floating-point tensor"),
        (torch.ones(4, 3), torch.ones(4, 3), 0.0, "temperature must be above 0"),
    ],
)
def test_refuses(z1: torch.Tensor, z2: torch.Tensor, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nt_xent(z1, z2, temperature=temperature)


def test_both_directions_of_moco_v3_are_the_published_number() -> None:
    assert float(moco_v3(Z1, Z2) + moco_v3(P1, P2)) == pytest.approx(1.084098851, abs=1e-9)


@pytest.mark.parametrize(("temperature", "published"), [(0.1, 10.894664328), (0.2, 5.923155235)])
def test_both_directions_of_nnclr_are_the_published_number(temperature: float, published: float) -> None:
    both = nnclr(P2, Z1, QUEUE, temperature) + nnclr(P1, Z2, QUEUE, temperature)
    assert float(both) / 2 == pytest.approx(published, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"sigma": 0.0}, "sigma must be above 0, got 0.0"),
    ],
)
def test_dcl_refuses(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dcl(Z1, Z2, **settings)


def test_queries_find_their_keys_whatever_repels() -> None:
    """Aligned with the key and orthogonal to the queue; and opposite to all of a queue."""
    z = torch.eye(8, dtype=torch.float64)
    assert float(moco(z[:3], z[:3], z[3:], 0.2)) == pytest.approx(math.log1p(5 * math.exp(-5)), abs=1e-12)
    assert float(moco(z[:1], z[:1], -z[:1], 0.1)) == pytest.approx(math.log1p(math.exp(-20)), abs=1e-12)


@pytest.mark.parametrize(
    ("query", "key", "queue", "message"),
    [
        (torch.ones(4, 3), torch.ones(5, 3), torch.ones(2, 3), "key must have the shape of query"),
        (
            torch.ones(0, 3),
            torch.ones(0, 3),
            torch.ones(2, 3),
            "query must hold at least one sample, got none",
        ),
        (
            torch.ones(4, 3),
            torch.ones(4, 3),
            torch.ones(2, 4),
            "queue must hold at least one row of 3 values",
        ),
        (torch.ones(4, 3), torch.ones(4, 3), torch.ones(0, 3), r"one row of 3 values, got \(0, 3\)"),
        (torch.ones(4, 3), torch.ones(4, 3), torch.ones(3), r"queue must have the shape \(K, D\)"),
    ],
)
def test_a_queue_has_to_fit(
    query: torch.Tensor, key: torch.Tensor, queue: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        moco(query, key, queue)
