"""Colour operations against torchvision's, with parameters given instead of drawn."""

from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from selfsup.views import ViewPlan
from selfsup.views.image import colour

OPERATIONS = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def images_of(n: int, height: int = 9, width: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_jitter_is_torchvisions_in_every_order() -> None:
    order = torch.tensor(list(permutations(range(4))))
    images, n = images_of(24), 24
    draws = torch.rand(n, 4, generator=torch.Generator().manual_seed(1))
    factors = torch.cat([2 * draws[:, :3], draws[:, 3:] - 0.5], dim=1)
    factors[0], factors[1, :3] = torch.tensor([0.0, 0.0, 0.0, 0.5]), 2.0
    jittered = colour.jitter(images, factors, order)
    for image, factor, permutation, actual in zip(
        images, factors.tolist(), order.tolist(), jittered, strict=True
    ):
        for operation in permutation:
            image = OPERATIONS[operation](image, factor[operation])
        close(actual, image)


@pytest.mark.parametrize("operation", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_one_operation_alone(operation: int) -> None:
    """The neutral factors of the other three leave what the one makes."""
    images = images_of(6)
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(6, 1)
    factors[:, operation] = torch.tensor([0.0, 0.3, 0.5, 0.1, 0.45, 0.2])
    jittered = colour.jitter(images, factors, torch.arange(4).roll(operation).repeat(6, 1))
    for image, factor, actual in zip(images, factors[:, operation].tolist(), jittered, strict=True):
        close(actual, OPERATIONS[operation](image, factor))


def test_neutral_jitter_changes_nothing() -> None:
    images = images_of(3)
    close(
        colour.jitter(images, torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 3), torch.arange(4).repeat(3, 1)), images
    )


@pytest.mark.parametrize("shift", [-0.5, -0.3, -0.1, 0.0, 0.05, 1 / 3, 0.5])
def test_hue_of_greys_ties_and_pure_colours(shift: float) -> None:
    """Every combination of three levels: greys, black and white, and two channels that tie for either end."""
    levels = torch.tensor([0.0, 0.4, 1.0])
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 3, 9)
    shifted = colour.shift_hue(image.unsqueeze(0), torch.full((1, 1, 1, 1), shift))[0]
    close(shifted, F.adjust_hue(image, shift))
    grey = (image == image[:1]).all(dim=0)
    assert grey.sum() == 3
    close(shifted[:, grey], image[:, grey])


def test_a_third_of_a_turn_permutes_the_channels() -> None:
    images = images_of(2)
    close(colour.shift_hue(images, torch.full((2, 1, 1, 1), 1 / 3)), images.roll(1, dims=1))


def test_greyscale_is_torchvisions() -> None:
    images = images_of(2)
    close(colour.greyscale(images), F.rgb_to_grayscale(images))


@pytest.mark.parametrize(("height", "width"), [(24, 24), (17, 40)])
def test_blur_is_torchvisions_with_a_kernel_of_three_sigmas(height: int, width: int) -> None:
    images, sigmas = images_of(5, height, width), [0.1, 0.4, 1.1, 2.0, 4.9]
    blurred = colour.blur(images, torch.tensor(sigmas))
    for image, sigma, radius, actual in zip(images, sigmas, [1, 2, 4, 6, 15], blurred, strict=True):
        close(actual, F.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2))


def test_blur_of_one_sample_does_not_depend_on_the_others() -> None:
    images, sigma = images_of(4, 32, 32), torch.tensor([0.2, 0.7, 1.3, 3.0])
    together = colour.blur(images, sigma)
    for i in range(4):
        torch.testing.assert_close(
            together[i : i + 1], colour.blur(images[i : i + 1], sigma[i : i + 1]), atol=1e-6, rtol=0
        )


def test_blur_wider_than_the_image() -> None:
    """Its kernel is cut at the image's size, and a constant stays what it was."""
    blurred = colour.blur(torch.full((1, 3, 4, 6), 0.3), torch.tensor([20.0]))
    close(blurred, torch.full((1, 3, 4, 6), 0.3))
    images = images_of(1, 4, 4)
    close(colour.blur(images, torch.tensor([20.0])), F.gaussian_blur(images, [7, 7], [20.0, 20.0]))


def test_solarize_is_torchvisions() -> None:
    images = images_of(2)
    images[0, 0, 0, :3] = torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(colour.solarize(images), F.solarize(images, 0.5))
    assert torch.equal(colour.solarize(images, 0.2), F.solarize(images, 0.2))


@pytest.mark.parametrize("channels", [3, 5])
def test_all_images_by_masks_are_those_of_the_chosen_alone(channels: int) -> None:
    """What a GPU computes, whose shapes depend on no draw."""
    kind = {"count": 1, "size": 1.0, "scale": [0.2, 1], "ratio": [0.75, 1.33], "mirror": 0.5, "jitter": 0.8}
    kind |= {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.3, "blur": 0.5}
    kind |= {"sigma": [0.1, 2.0], "recipe_size": 32, "solarize": 0.4, "noise": 0.05, "drop": 0.1}
    plan = ViewPlan({"each": kind}, 32, [0.5] * channels, [0.2] * channels)
    index = torch.arange(40)
    params = plan.colours(0, index, epoch=0)
    images = torch.rand(40, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    chosen = colour.coloured(images.clone(), params, masked=False)
    masked = colour.coloured(images.clone(), params, masked=True)
    assert not torch.equal(chosen, images)
    torch.testing.assert_close(masked, chosen, atol=1e-6, rtol=0)


def test_what_a_gpu_computes_is_one_graph() -> None:
    """Nothing in it depends on a draw, so that torch could compile it whole."""
    kind = {"count": 1, "size": 1.0, "scale": [0.2, 1], "ratio": [0.75, 1.33], "mirror": 0.5, "jitter": 0.8}
    kind |= {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.3, "blur": 0.5}
    kind |= {"sigma": [0.1, 2.0], "recipe_size": 32, "solarize": 0.4}
    params = ViewPlan({"each": kind}, 16, [0.5] * 3, [0.2] * 3).colours(0, torch.arange(4), epoch=0)
    whole = torch.compile(colour.coloured, backend="eager", fullgraph=True, dynamic=False)
    images = images_of(4, 16, 16)
    assert torch.equal(whole(images.clone(), params, True), colour.coloured(images.clone(), params, True))
