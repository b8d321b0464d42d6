"""Whole views against torchvision's float operations, with the parameters given instead of drawn.

The tolerance is 1e-5 of the range of values, for torch's path and for the compiled one.
"""

from typing import Any

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from selfsup.views import ViewPlan
from selfsup.views.image import native

RECIPE: dict[str, Any] = {
    "count": 2,
    "size": 1.0,
    "scale": [0.08, 1.0],
    "ratio": [0.75, 1.3333],
    "mirror": 0.5,
    "jitter": 0.8,
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.2,
    "grey": 0.2,
    "blur": 0.5,
    "sigma": [0.1, 2.0],
    "recipe_size": 32,
    "solarize": 0.2,
}
JITTER = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def skip_without_compiler() -> None:
    if not native.available():
        pytest.skip("there is no C++ compiler to compile the native path with")


def torchvisions(plan: ViewPlan, number: int, image: torch.Tensor, index: int, epoch: int) -> torch.Tensor:
    """The view of one image, by torchvision, of the plan's parameters; not normalised."""
    one = torch.tensor([index])
    box, mirror = plan.where(number, one, epoch, *image.shape[1:])
    colours, size = plan.colours(number, one, epoch), plan.sizes[number]
    view = F.resized_crop(image.float() / 255, *box[0].tolist(), size=list(size), antialias=True)
    view = F.horizontal_flip(view) if mirror else view
    if colours.jitter is not None:
        for operation in colours.order[0].tolist():
            view = JITTER[operation](view, colours.jitter[0, operation].item())
    if colours.grey is not None and colours.grey[0]:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if colours.sigma is not None and colours.sigma[0]:
        sigma = colours.sigma[0].item()
        # torchvision is told a kernel's size, ours ends at three sigmas
        down, across = (2 * min(side - 1, int((3 * colours.sigma[0]).ceil())) + 1 for side in size)
        view = F.gaussian_blur(view, [across, down], [sigma, sigma])
    if colours.solarized is not None and colours.solarized[0]:
        view = F.solarize(view, 0.5)
    return view


@pytest.mark.parametrize("compiled", [False, True], ids=["torch", "native"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (64, 64, 64), (90, 61, 37), (50, 70, (24, 49))],
    ids=["32", "64", "odd", "rectangle"],
)
def test_views_are_torchvisions_to_1e_5(
    height: int, width: int, size: int | tuple[int, int], compiled: bool
) -> None:
    if compiled:
        skip_without_compiler()
    n, epoch = 96, 3
    images = torch.randint(
        0, 256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    index = torch.arange(n) * 5
    kinds = {"plain": RECIPE, "small": RECIPE | {"count": 1, "size": 0.4}}
    plan = ViewPlan(kinds, size, [0.0] * 3, [1.0] * 3, seed=2, native=compiled)
    normalised = ViewPlan(kinds, size, MEAN, STD, seed=2, native=compiled)
    batch = {"image": images, "index": index}
    for number, (view, scaled) in enumerate(zip(plan(batch, epoch), normalised(batch, epoch), strict=True)):
        expected = torch.stack(
            [
                torchvisions(plan, number, image, i, epoch)
                for image, i in zip(images, index.tolist(), strict=True)
            ]
        )
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(scaled, F.normalize(view, MEAN, STD), atol=1e-5, rtol=0)
        assert view.is_contiguous(memory_format=torch.channels_last)
