from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.objectives import floors, latent_prediction, masked_reconstruction, patchify

from .declarations import inputs_for


def test_patchify_puts_each_pixel_where_it_belongs() -> None:
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for n in range(2):
        for patch in range(6):
            row, column = 2 * (patch // 3), 2 * (patch % 3)
            for value in range(12):
                y, x, channel = value // 6, value // 3 % 2, value % 3
                assert patches[n, patch, value] == images[n, channel, row + y, column + x]


@pytest.mark.parametrize("images", [torch.ones(3, 4, 4), torch.ones(1, 3, 4, 6), torch.ones(1, 3, 6, 4)])
def test_patchify_refuses(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"images must have the shape|patch must divide"):
        patchify(images, 4)


@pytest.mark.parametrize(
    ("values", "floor"), [(16 * 16 * 3, 0.9987), (4 * 4 * 3, 0.9792), (2 * 2 * 3, 0.9167)]
)
def test_reconstruction_floor_is_the_value_of_zeros(values: int, floor: float) -> None:
    target = torch.rand(8, 10, values, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(8, 10, generator=torch.Generator().manual_seed(1)) < 0.75
    value = float(masked_reconstruction(torch.zeros_like(target), target, mask))
    assert value == pytest.approx(floors.masked_reconstruction(values), abs=1e-3)
    assert floors.masked_reconstruction(values) == pytest.approx(floor, abs=1e-4)


def test_a_right_prediction_costs_nothing() -> None:
    inputs = inputs_for("masked_reconstruction")
    target = inputs["target"]
    right = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    assert float(masked_reconstruction(right, target, inputs["mask"])) < 1e-20
    assert float(masked_reconstruction(target, target, inputs["mask"], normalize=False)) == 0


def test_visible_patches_do_not_count() -> None:
    inputs = inputs_for("masked_reconstruction")
    visible = ~inputs["mask"][..., None]
    prediction = inputs["prediction"].clone().requires_grad_()
    value = masked_reconstruction(prediction, inputs["target"], inputs["mask"])
    value.backward()
    assert prediction.grad is not None
    assert (prediction.grad * visible).abs().max() == 0
    other = {**inputs, "target": torch.where(visible, 1e30, inputs["target"])}
    torch.testing.assert_close(masked_reconstruction(**other), value)


def test_intensity_of_a_patch_does_not_matter_when_normalised() -> None:
    inputs = inputs_for("masked_reconstruction")
    brighter = {**inputs, "target": inputs["target"] * 1e3 + 5}
    torch.testing.assert_close(
        masked_reconstruction(**brighter), masked_reconstruction(**inputs), rtol=1e-4, atol=0
    )


def test_a_flat_patch_is_finite() -> None:
    inputs = inputs_for("masked_reconstruction")
    flat = {**inputs, "target": torch.full_like(inputs["target"], 0.5)}
    assert masked_reconstruction(**flat).isfinite()


def test_latent_floor_is_the_value_of_zeros() -> None:
    target = torch.randn(256, 16, 192, generator=torch.Generator().manual_seed(0)) * 7 - 2
    value = float(latent_prediction(torch.zeros_like(target), target))
    assert value == pytest.approx(floors.latent_prediction(), abs=2e-3)
    assert floors.latent_prediction() == pytest.approx(0.42466, abs=1e-5)


def test_tokens_may_have_any_leading_axes_and_scale() -> None:
    inputs = inputs_for("latent_prediction")
    expected = latent_prediction(**inputs)
    flat = {name: x.flatten(0, 1) for name, x in inputs.items()}
    torch.testing.assert_close(latent_prediction(**flat), expected)
    scaled = latent_prediction(inputs["prediction"], inputs["target"] * 1e3 - 4)
    torch.testing.assert_close(scaled, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("objective", [masked_reconstruction, latent_prediction])
def test_no_gradient_goes_to_the_target(objective: object) -> None:
    name = objective.__name__  # type: ignore[attr-defined]
    inputs = {k: x.requires_grad_() if x.is_floating_point() else x for k, x in inputs_for(name).items()}
    objective(**inputs).backward()  # type: ignore[operator]
    assert inputs["target"].grad is None
    assert inputs["prediction"].grad is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.ones(12, 5, 7)}, "target must have the shape of prediction"),
        ({"prediction": torch.ones(12, 30)}, r"prediction must have the shape \(N, L, P\)"),
        ({"mask": torch.ones(12, 5)}, "mask must be a bool tensor"),
        ({"mask": torch.ones(12, 4, dtype=torch.bool)}, r"mask must be a bool tensor of shape \(12, 5\)"),
        ({"mask": torch.ones(12, 5, dtype=torch.bool)}, "mask must keep a patch visible"),
        ({"mask": torch.zeros(12, 5, dtype=torch.bool)}, "mask must hide a patch"),
        ({"target": torch.ones(12, 5, 6, dtype=torch.uint8)}, "target must be a floating-point tensor"),
        ({"prediction": torch.ones(12, 5, 1), "target": torch.ones(12, 5, 1)}, "at least two values"),
    ],
)
def test_reconstruction_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masked_reconstruction(**{**inputs_for("masked_reconstruction"), **change})


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.ones(3, 4), torch.ones(4, 3), "target must have the shape of prediction"),
        (torch.ones(3, 4), torch.ones(3, 4, dtype=torch.int64), "target must be a floating-point tensor"),
        (torch.ones(3, 1), torch.ones(3, 1), "prediction must hold tokens of at least two values"),
        (torch.ones(0, 4), torch.ones(0, 4), "prediction must hold tokens"),
    ],
)
def test_latent_prediction_refuses(prediction: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_prediction(prediction, target)
