"""A plan's views: how often each thing happens, and that a sample's views are its own."""

from typing import Any

import pytest
import torch
from scipy.stats import chi2, norm

from selfsup.errors import UsageError
from selfsup.views import View, ViewPlan

from .plain import PLAIN

N = 4000
INDEX = torch.arange(N)
SIGMAS = norm.isf(5e-7)
STRONG = PLAIN | {
    "scale": [0.2, 1.0],
    "ratio": [0.75, 1.3333],
    "mirror": 0.5,
    "jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "grey": 0.2,
    "blur": 0.5,
    "sigma": [0.7, 14.0],  # 0.1 to 2 pixels of a view of 32
    "solarize": 0.2,
}


def plan_of(*kinds: dict[str, Any], image_size: int = 8, seed: int = 0, multiple: int = 1) -> ViewPlan:
    """A plan that does not normalise."""
    named = {f"kind {i}": PLAIN | kind for i, kind in enumerate(kinds)}
    return ViewPlan(named, image_size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), seed, multiple)


def noise(n: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def views_of(plan: ViewPlan, images: torch.Tensor, index: torch.Tensor, epoch: int = 0) -> list[torch.Tensor]:
    return plan({"image": images, "index": index}, epoch)


def assert_share(happened: torch.Tensor, probability: float) -> None:
    error = (probability * (1 - probability) / len(happened)) ** 0.5
    assert abs(happened.double().mean() - probability) <= SIGMAS * error


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.8, 1.0])
def test_each_thing_happens_with_its_probability_and_independently(probability: float) -> None:
    # Left half red, right half twice as bright a blue: whatever is done leaves its own trace.
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    image[0, :, :2], image[2, :, 2:] = 100, 200
    settings = {"count": 2, "brightness": 0.9, "sigma": [60, 90]}
    happened = []
    for name in ("mirror", "jitter", "grey", "blur", "solarize"):
        plan = plan_of({**settings, name: probability}, image_size=4, seed=3)
        for view in views_of(plan, image.expand(N, -1, -1, -1), INDEX):
            happened.append((view - image / 255).abs().amax(dim=(1, 2, 3)) > 1e-5)
            assert_share(happened[-1], probability)
    if 0 < probability < 1:
        correlation = torch.corrcoef(torch.stack(happened).double())
        assert correlation.fill_diagonal_(0).abs().max() < SIGMAS / N**0.5


def test_parameters_of_the_jitter_and_the_blur() -> None:
    strengths = {"jitter": 1.0, "brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1}
    plan = plan_of({**strengths, "blur": 1.0, "sigma": [0.1, 2.0], "size": 112}, image_size=224)
    colours = plan.colours(0, INDEX, 0)
    assert (colours.grey, colours.solarized) == (None, None)
    ranges = [(0.6, 1.4), (0.7, 1.3), (0.8, 1.2), (-0.1, 0.1), (0.05, 1.0)]  # half the pixels: half the sigma
    for values, (low, high) in zip([*colours.jitter.unbind(1), colours.sigma], ranges, strict=True):
        share = (values - low) / (high - low)
        assert -1e-6 < share.min() < 0.01
        assert 0.99 < share.max() < 1 + 1e-6
        assert abs(share.mean() - 0.5) < SIGMAS * (1 / 12 / N) ** 0.5
        assert abs(share.var() - 1 / 12) < SIGMAS * (1 / 180 / N) ** 0.5
    orders, counts = colours.order.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert (orders.sort(dim=1).values == torch.arange(4)).all()
    assert ((counts - N / 24) ** 2 / (N / 24)).sum() < chi2.isf(1e-6, 23)


def test_the_blur_of_a_view_of_the_recipes_size_is_the_recipes() -> None:
    crops = {"blur": 1.0, "sigma": [2.0, 2.0], "size": 96}
    for recipe_size, sigma in ((96, 2.0), (224, 2.0 * 96 / 224), (48, 4.0)):
        colours = plan_of({**crops, "recipe_size": recipe_size}, image_size=224).colours(0, INDEX, 0)
        torch.testing.assert_close(colours.sigma, torch.full((N,), sigma))


def test_a_strength_above_one_makes_no_negative_factor() -> None:
    plan = plan_of({"jitter": 1.0, "brightness": 1.5})
    (view,) = views_of(plan, noise(100, 8, 8), torch.arange(100))
    assert view.min() >= 0


def test_a_sample_has_the_same_views_whatever_its_batch() -> None:
    plan = plan_of(STRONG, STRONG | {"count": 2, "size": 0.5}, image_size=32)
    images, index = noise(24, 40, 48), torch.arange(24) * 7
    together = views_of(plan, images, index, epoch=5)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    for view, shuffled in zip(together, views_of(plan, images[order], index[order], epoch=5), strict=True):
        torch.testing.assert_close(shuffled, view[order], atol=1e-5, rtol=0)
    for i in range(24):
        for view, alone in zip(
            together, views_of(plan, images[i : i + 1], index[i : i + 1], epoch=5), strict=True
        ):
            torch.testing.assert_close(alone, view[i : i + 1], atol=1e-5, rtol=0)


def test_samples_epochs_seeds_and_views_differ() -> None:
    images = noise(1, 32, 32).expand(3, -1, -1, -1)
    index = torch.tensor([0, 1, 2**33])
    plan = plan_of(STRONG | {"count": 2}, image_size=32)
    other = plan_of(STRONG | {"count": 2}, image_size=32, seed=1)
    views = [
        *views_of(plan, images, index),
        *views_of(plan, images, index, epoch=1),
        *views_of(other, images, index),
    ]
    different = torch.cat(views).flatten(1)
    distances = torch.cdist(different, different).fill_diagonal_(1)
    assert distances.min() > 0.1
    assert all(torch.equal(*pair) for pair in zip(views, views_of(plan, images, index), strict=False))


def test_workers_and_batches_share_the_two_stages() -> None:
    plan = plan_of(STRONG | {"count": 2}, image_size=24)
    images, index = noise(6, 30, 20), torch.arange(6)
    crops = plan.crop(images, index, 3)
    assert [crop.shape for crop in crops] == [(6, 3, 24, 24)] * 2
    for whole, staged in zip(
        views_of(plan, images, index, 3), plan({"image": crops, "index": index}, 3), strict=True
    ):
        assert torch.equal(whole, staged)


def test_the_plain_view_is_the_normalised_image() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    plan = ViewPlan({"each": PLAIN}, 8, mean, std)
    images = noise(5, 8, 8)
    (view,) = views_of(plan, images, torch.arange(5))
    expected = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
    assert view.dtype == torch.float32
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_kinds_differ_and_keep_their_order() -> None:
    plan = plan_of({"count": 2}, {"count": 0, "grey": 1.0}, {"solarize": 1.0, "size": 4}, image_size=8)
    assert len(plan) == 3
    assert plan.sizes == [(8, 8), (8, 8), (4, 4)]
    images = noise(3, 8, 8)
    first, second, third = views_of(plan, images, torch.arange(3))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, images / 255, atol=1e-6, rtol=0)
    assert third.shape == (3, 3, 4, 4)
    assert third.max() <= 0.5


@pytest.mark.parametrize(
    ("size", "image_size", "multiple", "pixels"),
    [
        (1.0, 32, 1, 32),
        (0.43, 224, 1, 96),
        (0.43, 32, 1, 14),
        (0.43, 32, 4, 12),
        (96, 224, 16, 96),
        (0.1, 24, 8, 8),
    ],
)
def test_sizes_in_pixels_and_shares(size: float, image_size: int, multiple: int, pixels: int) -> None:
    assert plan_of({"size": size}, image_size=image_size, multiple=multiple).sizes == [(pixels, pixels)]


@pytest.mark.parametrize(
    "mistake",
    [
        {"mirror": 1.5},
        {"blur": -0.1},
        {"scale": [0.5, 0.2]},
        {"scale": [0.0, 1.0]},
        {"scale": [0.2, 1.1]},
        {"scale": [0.2]},
        {"ratio": [1.3, 0.7]},
        {"ratio": [0, 1]},
        {"sigma": [0, 2]},
        {"sigma": ["a", "b"]},
        {"recipe_size": 0},
        {"size": 0},
    ],
    ids=str,
)
def test_a_mistake_is_told(mistake: dict[str, Any]) -> None:
    (name,) = mistake
    with pytest.raises(UsageError, match=f"^views: {name}=.*must be"):
        View(**PLAIN | mistake)


def test_a_plan_without_views() -> None:
    with pytest.raises(UsageError, match="no views"):
        plan_of({"count": 0})


def test_settings_of_a_kind_that_the_plan_lacks() -> None:
    with pytest.raises(UsageError, match=r"no views 'small'.*count.*views=NAME.*: size, scale"):
        ViewPlan({"each": PLAIN, "small": {"count": 2}}, 32, [0.5] * 3, [0.5] * 3)
    with pytest.raises(UsageError, match=r"views.each has no 'blurr'; it takes count, .*blur"):
        ViewPlan({"each": PLAIN | {"blurr": 1.0}}, 32, [0.5] * 3, [0.5] * 3)
