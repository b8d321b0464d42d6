import torch

from selfsup.evaluation.classifiers.lbfgs import minimise


def test_a_quadratic_is_solved():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix = root @ root.t() / 12 + 0.1 * torch.eye(12, dtype=torch.float64)
    target = torch.randn(12, generator=generator, dtype=torch.float64)

    def objective(x):
        gap = x - target
        return 1 + float(gap @ matrix @ gap) / 2, matrix @ gap

    found = minimise(objective, torch.zeros_like(target), gradient_tolerance=1e-8, value_tolerance=0.0)
    torch.testing.assert_close(found, target, atol=1e-5, rtol=0)


def test_a_first_step_that_is_too_long_is_shortened():
    def objective(x):
        return 1 + float((x**4).sum() + 50 * (x**2).sum()), 4 * x**3 + 100 * x

    found = minimise(objective, torch.full((3,), 2.0, dtype=torch.float64))
    assert found.abs().max() < 1e-4


def test_it_ends_where_rounding_does():
    # The gradient promises a descent that the value does not show.
    calls = []

    def objective(x):
        calls.append(1)
        return 1.0, torch.ones_like(x)

    start = torch.zeros(2)
    assert torch.equal(minimise(objective, start), start)
    assert len(calls) < 20
