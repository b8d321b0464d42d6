"""Views of channels that are not colours: each by itself, noise, and channels that are dropped."""

from typing import Any

import pytest
import torch
from scipy.stats import kstest, norm
from torchvision.transforms.v2 import functional as F

from selfsup.config import load_config
from selfsup.data.settings import colours_of
from selfsup.errors import UsageError
from selfsup.views import View, ViewPlan, view_kinds
from selfsup.views.draws import keys, normal

from .plain import PLAIN
from .test_parity import RECIPE, skip_without_compiler

N = 4000
INDEX = torch.arange(N)
SIGMAS = norm.isf(5e-7)
COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["torch", "native"])


def images_of(n: int, channels: int, height: int = 30, width: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def plan_of(channels: int, *, compiled: bool = False, size: Any = 8, **settings: Any) -> ViewPlan:
    """A plan that does not normalise, of channels that are not colours."""
    if compiled:
        skip_without_compiler()
    kinds = {"each": PLAIN | settings}
    return ViewPlan(kinds, size, [0.0] * channels, [1.0] * channels, native=compiled, colours=False)


def views_of(plan: ViewPlan, images: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
    (view,) = plan({"image": images, "index": torch.arange(len(images)) if index is None else index}, 0)
    return view


def by_torchvision(plan: ViewPlan, image: torch.Tensor, index: int) -> torch.Tensor:
    """The view of one image, each channel made by torchvision as an image of grey."""
    one, size = torch.tensor([index]), list(plan.sizes[0])
    box, mirror = plan.where(0, one, 0, *image.shape[1:])
    drawn, order = plan.drawn(0, one, 0, *image.shape[1:]), plan.colours(0, one, 0).order[0].tolist()
    channels = []
    for channel, (brightness, contrast) in zip(image, drawn["channels"][0].T.tolist(), strict=True):
        view = F.resized_crop(channel[None].float() / 255, *box[0].tolist(), size=size, antialias=True)
        view = F.horizontal_flip(view) if mirror else view
        for operation in order:
            view = F.adjust_brightness(view, brightness) if operation == 0 else view
            view = F.adjust_contrast(view, contrast) if operation == 1 else view
        if sigma := drawn["sigma"][0].item():
            down, across = (2 * min(side - 1, int((3 * drawn["sigma"][0]).ceil())) + 1 for side in size)
            view = F.gaussian_blur(view, [across, down], [sigma, sigma])
        channels.append(F.solarize(view, 0.5) if drawn["solarized"][0] else view)
    return torch.cat(channels)


@COMPILED
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_each_channel_is_torchvisions_grey(channels: int, compiled: bool) -> None:
    recipe = {key: value for key, value in RECIPE.items() if key not in ("count", "size")}
    plan = plan_of(channels, compiled=compiled, size=(16, 40), **recipe)
    images = images_of(24, channels)
    expected = torch.stack([by_torchvision(plan, image, i) for i, image in enumerate(images)])
    for layout in (images, images.contiguous(memory_format=torch.channels_last), images.float()):
        view = views_of(plan, layout)
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
        assert view.is_contiguous(memory_format=torch.channels_last)


@COMPILED
def test_channels_are_normalised_each_by_its_own(compiled: bool) -> None:
    mean, std = [0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]
    plan = ViewPlan({"each": PLAIN}, (30, 50), mean, std, native=compiled)
    images = images_of(3, 5)
    expected = F.normalize(images / 255, mean, std)
    torch.testing.assert_close(views_of(plan, images), expected, atol=1e-5, rtol=0)


def test_factors_are_uniform_and_each_channels_own() -> None:
    plan = plan_of(3, jitter=0.6, brightness=0.4, contrast=0.8)
    factors = plan.drawn(0, INDEX, 0, 8, 8)["channels"]
    jittered = (factors != 1).flatten(1).any(1)
    # All channels of a view, or none, but for the draw in ten million that is in the middle.
    assert ((factors != 1).flatten(1).all(1) != jittered).sum() <= 1
    assert abs(jittered.double().mean() - 0.6) < SIGMAS * (0.24 / N) ** 0.5
    some = factors[jittered].double()
    for number, strength in enumerate((0.4, 0.8)):
        share = (some[:, number] - 1 + strength) / (2 * strength)
        for channel in share.unbind(1):
            assert kstest(channel.numpy(), "uniform").pvalue > 1e-6
    correlation = torch.corrcoef(some.flatten(1).T).fill_diagonal_(0)
    assert correlation.abs().max() < SIGMAS / len(some) ** 0.5
    assert plan.drawn(0, INDEX, 0, 8, 8)["jitter"].unique(dim=0).tolist() == [[1, 1, 1, 0]]


def test_colours_share_their_factors() -> None:
    plan = ViewPlan({"each": PLAIN | {"jitter": 1.0, "brightness": 0.9}}, 8, [0.0] * 3, [1.0] * 3)
    drawn = plan.drawn(0, torch.arange(5), 0, 8, 8)
    assert (drawn["channels"] == 1).all()
    assert (drawn["jitter"][:, 0] != 1).all()
    assert not drawn["dropped"].any()


@COMPILED
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_noise_is_gaussian_and_each_values_own(channels: int, compiled: bool) -> None:
    plan = plan_of(channels, compiled=compiled, size=(9, 13), noise=0.05)
    noise = (views_of(plan, torch.full((60, channels, 9, 13), 100, dtype=torch.uint8)) - 100 / 255) / 0.05
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-6
    # Neither neighbours, nor channels, nor samples, nor the two halves of a pair are alike.
    flat = noise.flatten(1)
    half = flat[:, : flat.shape[1] // 2], flat[:, -(flat.shape[1] // 2) :]
    for one, other in ((flat[:, 1:], flat[:, :-1]), (flat[1:], flat[:-1]), half):
        both = torch.stack([one.flatten(), other.flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < SIGMAS / one.numel() ** 0.5
    alone = views_of(plan, torch.full((1, channels, 9, 13), 100, dtype=torch.uint8), torch.tensor([17]))
    torch.testing.assert_close((alone[0] - 100 / 255) / 0.05, noise[17], atol=1e-3, rtol=0)


@COMPILED
def test_noise_comes_last_and_is_clipped(compiled: bool) -> None:
    plan = plan_of(2, compiled=compiled, noise=0.5, solarize=1.0)
    view = views_of(plan, torch.full((50, 2, 8, 8), 255, dtype=torch.uint8))  # inverted: black
    assert view.min() == 0
    assert view.max() <= 1
    assert 0.4 < (view > 0).double().mean() < 0.6


def test_the_noise_is_box_and_mullers() -> None:
    key = keys(3, 1, torch.tensor([5]), 0)
    values = normal(key, 7, first=100)
    assert values.shape == (1, 7)
    assert torch.equal(values, normal(key, 8, first=100)[:, :7])
    many = normal(keys(0, 0, torch.arange(1000), 0), 100, first=0).double()
    assert kstest(many.flatten().numpy(), "norm").pvalue > 1e-6


@COMPILED
@pytest.mark.parametrize("drop", [0.3, 1.0])
def test_dropped_channels_are_the_datas_mean_and_one_stays(drop: float, compiled: bool) -> None:
    channels = 3
    if compiled:
        skip_without_compiler()
    plan = ViewPlan({"each": PLAIN | {"drop": drop}}, 4, [0.3] * 3, [0.2] * 3, native=compiled)
    view = views_of(plan, torch.full((N, channels, 4, 4), 200, dtype=torch.uint8))
    gone = (view == 0).flatten(2).all(2)
    assert torch.equal(gone, plan.drawn(0, INDEX, 0, 4, 4)["dropped"])
    torch.testing.assert_close(view[~gone], torch.full_like(view[~gone], (200 / 255 - 0.3) / 0.2))
    assert (gone.sum(1) < channels).all()
    # Of all three dropped, one stays: its share is drop less drop^3 / 3.
    expected = drop - drop**channels / channels
    error = (expected * (1 - expected) / N) ** 0.5
    assert (gone.double().mean(0) - expected).abs().max() < SIGMAS * error


def test_a_single_channel_is_never_dropped() -> None:
    plan = plan_of(1, drop=1.0)
    assert not plan.drawn(0, INDEX, 0, 8, 8)["dropped"].any()


@pytest.mark.parametrize(
    ("channels", "colours", "settings", "sentence"),
    [
        (3, True, RECIPE, ""),
        (3, False, RECIPE, "whose 3 channels are not colours: saturation, hue, greyscale"),
        (4, True, RECIPE | {"grey": 0.0}, "whose 4 channels are not colours: saturation, hue"),
        (1, True, RECIPE | {"jitter": 0.0}, "whose one channel is grey: greyscale"),
        (1, True, PLAIN | {"drop": 0.1}, "whose one channel is grey: dropping of channels"),
        (2, True, PLAIN | {"jitter": 1.0, "brightness": 0.4}, ""),
    ],
)
def test_what_is_left_out_is_said(
    channels: int, colours: bool, settings: dict[str, Any], sentence: str
) -> None:
    plan = ViewPlan({"each": settings}, 8, [0.5] * channels, [0.5] * channels, colours=colours)
    assert plan.left_out() == (f"left out of the views, {sentence}" if sentence else "")


@COMPILED
def test_images_of_other_channels_than_the_plan_are_refused(compiled: bool) -> None:
    plan = plan_of(4, compiled=compiled)
    with pytest.raises((ValueError, RuntimeError)):
        views_of(plan, images_of(2, 3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, True),
        ({"channels": 3, "colours": "auto"}, True),
        ({"channels": 3, "colours": True}, True),
        ({"channels": 3, "colours": False}, False),
        ({"channels": 1, "colours": "auto"}, False),
        ({"channels": 4, "colours": False}, False),
    ],
)
def test_which_channels_are_colours(data: dict[str, Any], expected: bool) -> None:
    assert colours_of(data) is expected


def test_colours_that_cannot_be() -> None:
    with pytest.raises(
        UsageError, match=r"colours=true is for data.channels=3, and there are 4; leave it out"
    ):
        colours_of({"channels": 4, "colours": True})
    with pytest.raises(UsageError, match="colours must be auto, true or false, not red"):
        colours_of({"colours": "red"})


@pytest.mark.parametrize("name", ["noise", "drop"])
def test_shares_out_of_range(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^views: {name}=1.5 must be a (probability|standard deviation)"):
        View(**PLAIN | {name: 1.5})


def test_the_datas_settings_reach_the_views_that_change_colours() -> None:
    config = load_config("train", ["method=dino", "data.noise=0.1", "data.drop=0.3"])
    assert {(kind["noise"], kind["drop"]) for kind in view_kinds(config["views"]).values()} == {(0.1, 0.3)}
    config = load_config("train", ["views=ressl", "data.noise=0.1", "data.drop=0.3"])
    assert [config["views"][kind]["noise"] for kind in ("weak", "strong")] == [0.0, 0.1]
