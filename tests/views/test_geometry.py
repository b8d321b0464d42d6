"""Crops against torchvision: the same pixels for a given box, the same distribution of boxes."""

import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from selfsup.views.draws import uniform
from selfsup.views.image.geometry import DRAWS, crop_resize, random_boxes

RATIO = (3 / 4, 4 / 3)


def boxes_of(
    n: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> torch.Tensor:
    size = torch.full((n,), height), torch.full((n,), width)
    return random_boxes(uniform(0, 0, torch.arange(n), 0, DRAWS), *size, scale, ratio)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (32, 32, (32, 32)),
        (97, 61, (24, 24)),
        (8, 8, (24, 24)),
        (40, 56, (1, 1)),
        (300, 20, (32, 32)),
        (40, 70, (16, 48)),
    ],
    ids=["cifar", "smaller", "larger", "to a pixel", "both at once", "rectangle"],
)
def test_crops_are_torchvisions(height: int, width: int, size: tuple[int, int], mirrored: bool) -> None:
    images = torch.rand(12, 3, height, width, generator=torch.Generator().manual_seed(0))
    boxes = boxes_of(12, height, width, (0.05, 1.0), (0.5, 2.0))
    boxes[0] = torch.tensor([0, 0, height, width])
    boxes[1] = torch.tensor([height - 1, width - 1, 1, 1])
    mirror = torch.arange(12) % 2 == int(mirrored)
    views = crop_resize(images, boxes, mirror, size)
    for image, box, flip, view in zip(images, boxes.tolist(), mirror, views, strict=True):
        expected = F.resized_crop(image, *box, size=list(size), antialias=True)
        expected = F.horizontal_flip(expected) if flip else expected
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_pixels_outside_the_box_are_not_read() -> None:
    images = torch.full((1, 3, 20, 20), torch.inf)
    images[:, :, 4:13, 6:17] = 0.25
    inside = torch.where(images.isinf(), 1e6, images)
    view = crop_resize(inside, torch.tensor([[4, 6, 9, 11]]), torch.tensor([False]), (30, 20))
    torch.testing.assert_close(view, torch.full_like(view, 0.25))


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(64, 64, (0.08, 1.0)), (48, 80, (0.08, 1.0)), (90, 40, (0.2, 0.5))],
    ids=["square", "wide", "tall"],
)
def test_boxes_are_distributed_as_torchvisions(height: int, width: int, scale: tuple[float, float]) -> None:
    boxes = boxes_of(20_000, height, width, scale, RATIO)
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    peer = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(4000)])
    for ours, theirs in zip(_features(boxes), _features(peer), strict=True):
        error = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt()
        assert abs(ours.mean() - theirs.mean()) < 4.5 * error
        # Kolmogorov and Smirnov's distance, at a level of 1e-5
        grid = torch.cat([ours, theirs]).unique()
        cdfs = [torch.searchsorted(x.sort()[0], grid, right=True) / len(x) for x in (ours, theirs)]
        assert (cdfs[0] - cdfs[1]).abs().max() < 2.47 * (1 / len(ours) + 1 / len(theirs)) ** 0.5


def _features(boxes: torch.Tensor) -> list[torch.Tensor]:
    top, left, height, width = boxes.double().unbind(dim=1)
    return [height * width, (width / height).log(), top, left, top + height, left + width]


def test_boxes_stay_in_their_ranges() -> None:
    height, width, scale = 200, 200, (0.2, 0.6)
    top, left, h, w = boxes_of(20_000, height, width, scale, RATIO).double().unbind(dim=1)
    area, ratio = h * w / (height * width), w / h
    # Sides are rounded to whole pixels, of which the smallest has 77.
    assert scale[0] - 0.005 < area.min() < scale[0] + 0.01
    assert scale[1] - 0.01 < area.max() < scale[1] + 0.006
    assert RATIO[0] * 0.985 < ratio.min() < RATIO[0] * 1.02
    assert RATIO[1] * 0.98 < ratio.max() < RATIO[1] * 1.015
    assert abs(area.mean() - 0.4) < 0.004
    assert abs(ratio.log().mean()) < 0.006  # of a log-uniform ratio
    assert top.min() == left.min() == 0
    assert (top + h).max() == height
    assert (left + w).max() == width


def test_every_position_is_equally_likely() -> None:
    """The last row and column too: an offset drawn from [0, H - h) would never reach them."""
    n, side = 20_000, 8
    boxes = boxes_of(n, side, side, (0.25, 0.25), (1.0, 1.0))
    assert (boxes[:, 2:] == 4).all()
    for offset in boxes[:, :2].unbind(dim=1):
        counts = torch.bincount(offset, minlength=5)
        assert counts.shape == (5,)
        assert (counts - n / 5).abs().max() < 4.5 * (n * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (10, 101, (1.0, 1.0), RATIO),
        (101, 10, (1.0, 1.0), RATIO),
        (100, 7, (1.0, 1.0), RATIO),
        (16, 16, (1.0, 1.0), (2.0, 3.0)),
        (17, 16, (1.0, 1.0), (2.0, 3.0)),
    ],
)
def test_where_no_attempt_fits_the_largest_centred_box_is_taken(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    expected = RandomResizedCrop.get_params(torch.empty(1, height, width), list(scale), list(ratio))
    assert boxes_of(50, height, width, scale, ratio).unique(dim=0).tolist() == [list(expected)]


def test_each_sample_has_the_box_of_its_own_image() -> None:
    draws = uniform(0, 0, torch.arange(3), 0, DRAWS)
    heights, widths = torch.tensor([32, 200, 9]), torch.tensor([48, 20, 9])
    together = random_boxes(draws, heights, widths, (0.2, 1.0), RATIO)
    for i in range(3):
        alone = random_boxes(draws[i : i + 1], heights[i : i + 1], widths[i : i + 1], (0.2, 1.0), RATIO)
        assert torch.equal(alone[0], together[i])
