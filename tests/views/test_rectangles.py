"""Views of a height and a width: their sizes, their boxes, and that nothing in them is distorted."""

import io
from typing import Any

import pytest
import torch
from PIL import Image

from selfsup.data import ImageFiles
from selfsup.data.readers.crops import crop_resize, read_crops
from selfsup.views import ViewPlan

from .plain import PLAIN

N = 2000
INDEX = torch.arange(N)


def plan_of(image_size: Any, multiple: Any = 1, **settings: Any) -> ViewPlan:
    return ViewPlan({"each": PLAIN | settings}, image_size, [0.0] * 3, [1.0] * 3, multiple=multiple)


@pytest.mark.parametrize(
    ("size", "image_size", "multiple", "pixels"),
    [
        (1.0, (32, 64), 1, (32, 64)),
        (0.5, [64, 96], 16, (32, 48)),
        (0.43, (100, 50), 1, (43, 22)),
        (96, (224, 448), 16, (96, 192)),
        (96, (448, 224), 1, (192, 96)),
        (1.0, (30, 60), (4, 8), (32, 64)),
        (0.05, (32, 64), 8, (8, 8)),
    ],
)
def test_sizes_keep_the_proportion(size: float, image_size: Any, multiple: Any, pixels: Any) -> None:
    assert plan_of(image_size, multiple, size=size).sizes == [pixels]


@pytest.mark.parametrize("image_size", [(32, 64), (60, 20), (24, 24)])
def test_boxes_have_the_views_own_proportion(image_size: tuple[int, int]) -> None:
    """The range of the ratio is about that of the view, whatever the image's is."""
    plan = plan_of(image_size, scale=[0.05, 0.15], ratio=[0.8, 1.25])
    for shape in ((400, 800), (700, 700)):
        box, _ = plan.where(0, INDEX, 0, *shape)
        stretch = (box[:, 3] / box[:, 2]) / (image_size[1] / image_size[0])
        assert 0.79 < stretch.min() < 0.85
        assert 1.2 < stretch.max() < 1.26
        assert abs(stretch.log().mean()) < 0.01


def test_without_a_ratio_content_is_not_distorted() -> None:
    """Stripes of the same width down and across stay so."""
    stripes = 255 * (torch.arange(240) // 12 % 2)
    image = torch.stack(
        [stripes[:, None].expand(240, 240), stripes[None].expand(240, 240), stripes.new_zeros(240, 240)]
    )
    plan = plan_of((40, 80), scale=[0.4, 0.4], ratio=[1.0, 1.0])
    (view,) = plan({"image": image[None].to(torch.uint8), "index": torch.tensor([3])}, 0)
    down = (view[0, 0, 1:, 0].sub(0.5).sign() != view[0, 0, :-1, 0].sub(0.5).sign()).nonzero().diff(dim=0)
    across = (view[0, 1, 0, 1:].sub(0.5).sign() != view[0, 1, 0, :-1].sub(0.5).sign()).nonzero().diff(dim=0)
    assert abs(down.double().mean() - across.double().mean()) < 0.1


@pytest.mark.parametrize("shape", [(90, 61), (40, 200)])
def test_boxes_of_one_image_are_those_of_the_batch(shape: tuple[int, int]) -> None:
    plan = plan_of((16, 40), scale=[0.2, 1.0], ratio=[0.75, 1.33], mirror=0.5)
    place = plan.places(INDEX[:50], 4)
    box, mirror = plan.where(0, INDEX[:50], 4, *shape)
    assert [place(row, *shape)[0] for row in range(50)] == list(
        zip(box.tolist(), mirror.tolist(), strict=True)
    )


def test_the_blur_is_that_of_a_square_of_the_same_area() -> None:
    blurred = {"blur": 1.0, "sigma": [1.0, 2.0], "recipe_size": 64}
    square, wide = (plan_of(size, **blurred).colours(0, INDEX, 0).sigma for size in (32, (16, 64)))
    torch.testing.assert_close(square, wide)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_crops_of_files(mode: str) -> None:
    """As the whole image cropped by the batch's path, but rounded; a large one is decoded smaller."""
    content = io.BytesIO()
    pixels = torch.rand(3, 12, 20, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(pixels[None], (300, 500), mode="bicubic")[0].clamp(0, 1)
    picture = Image.fromarray((smooth * 255).byte().permute(1, 2, 0).numpy()).convert(mode)
    picture.save(content, "JPEG", quality=95)
    source, indices = ImageFiles([content.getvalue()] * 6), torch.arange(6)
    plan = plan_of((32, 80), scale=[0.5, 1.0], ratio=[0.9, 1.1], mirror=0.5)
    found, _ = read_crops(source, indices.tolist(), plan, 0)
    whole = source[0].expand(6, -1, -1, -1)
    (expected,) = plan.crop(whole, indices, 0)
    made = torch.stack([found[i][0][0] for i in range(6)])
    assert made.shape == (6, 3, 32, 80)
    assert made.dtype == torch.uint8
    # A picture that was decoded at half the size is up to a pixel off.
    assert (made - expected).abs().mean() < 4


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9, 16])
def test_crops_of_any_channels_are_torchs(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (channels, 50, 60), dtype=torch.uint8, generator=generator)
    made = crop_resize(image, [3, 5, 40, 51], (20, 31))
    expected = torch.nn.functional.interpolate(
        image[:, None, 3:43, 5:56], (20, 31), mode="bilinear", antialias=True
    )
    assert torch.equal(made, expected[:, 0])
