"""What is predicted of hidden patches: targets, order, and who is seen."""

import pytest
import torch

from selfsup.objectives import byol, data2vec, data2vec_targets, semantic_order, sinkhorn

from .declarations import OBJECTIVES, inputs_for, wave

TOKENS = torch.stack([wave(0.4 + b, 10, 6) for b in range(2)])  # the class token, then 3 x 3 patches
RASTER = (torch.arange(9) / 9).double().expand(2, 9)


def test_the_order_is_the_published_one() -> None:
    order = semantic_order(TOKENS[:, 0], TOKENS[:, 1:], (3, 3), RASTER)
    assert order.argmin(1).tolist() == [8, 7]
    later = (order.unsqueeze(1) > order.unsqueeze(2)).sum(2)
    assert later[0].tolist() == [0, 2, 4, 1, 5, 7, 3, 6, 8]
    assert (later[0] + 1).tolist() == [1, 3, 5, 2, 6, 8, 4, 7, 9]


def test_rows_and_columns_of_a_grid_are_not_exchanged() -> None:
    patches = torch.zeros(1, 6, 2)
    patches[0, 4] = torch.tensor([1.0, 0.0])
    order = semantic_order(torch.tensor([[1.0, 0.0]]), patches, (2, 3), torch.zeros(1, 6))
    expected = torch.tensor([[2**0.5, 1.0, 2**0.5, 1.0, 0.0, 1.0]])
    torch.testing.assert_close(order, expected)


def test_the_loss_of_features_is_byols() -> None:
    """SemAIM's golden value: the squared distance of directions."""
    prediction = torch.stack([wave(1.7 + b, 9, 6) for b in range(2)]).requires_grad_()
    loss = byol(prediction.flatten(0, 1), TOKENS[:, 1:].flatten(0, 1))
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert float(loss) == pytest.approx(0.440679577, abs=1e-9)
    assert float(gradient.norm()) == pytest.approx(0.174216485, abs=1e-9)
    assert float(gradient[0, 0, 0]) == pytest.approx(-0.002817481, abs=1e-9)


def test_targets_are_the_published_ones() -> None:
    layers = torch.stack(
        [(1 + k) * torch.stack([wave(0.3 * k + 0.5 + b, 5, 8) for b in range(2)]) for k in range(3)]
    )
    target = data2vec_targets(layers)
    expected = torch.tensor([0.676782035, 0.901499662, -1.258161767], dtype=torch.float64)
    torch.testing.assert_close(target[0, 0, :3], expected, rtol=0, atol=1e-9)
    # That of the class token is the mean over patches; the published code adds up the images.
    of_class = 0.01 * 2 * data2vec(wave(0.9, 2, 8), target.mean(dim=1))
    assert float(of_class) == pytest.approx(0.027029515, abs=1e-9)


def test_assignments_are_balanced_at_each_position() -> None:
    teacher = torch.stack([2 * wave(0.3 + b, 4, 5) for b in range(6)])
    assignments = sinkhorn(teacher.transpose(0, 1), 0.06).transpose(0, 1)
    expected = torch.tensor([0, 0.995387, 0, 0, 0.004613], dtype=torch.float64)
    torch.testing.assert_close(assignments[0, 0], expected, rtol=0, atol=1e-6)
    mass = torch.tensor([0.5124, 1.7911, 1.2042, 1.9865, 0.5057], dtype=torch.float64)
    torch.testing.assert_close(assignments[:, 0].sum(0), mass, rtol=0, atol=1e-4)


def test_targets_have_no_gradient() -> None:
    layers = torch.randn(2, 3, 4, 5, requires_grad=True)
    assert not data2vec_targets(layers).requires_grad


@pytest.mark.parametrize("name", ["ibot", "capi", "data2vec"])
def test_gradients_go_to_what_is_predicted_alone(name: str) -> None:
    inputs = {
        key: value.clone().requires_grad_(value.is_floating_point())
        for key, value in inputs_for(name).items()
    }
    OBJECTIVES[name].objective(**inputs).backward()
    assert {key for key, value in inputs.items() if value.grad is not None} == set(OBJECTIVES[name].learned)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 6), (2, 9, 6), (2, 8)), "must fit patches"),
        (((2, 5), (2, 9, 6), (2, 9)), "must fit patches"),
        (((2, 6), (2, 8, 6), (2, 8)), "must fit patches"),
        (((2, 6), (9, 6), (2, 9)), "patches must have the shape"),
    ],
)
def test_an_order_of_what_does_not_fit_is_refused(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    class_token, patches, ties = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        semantic_order(class_token, patches, (3, 3), ties)
