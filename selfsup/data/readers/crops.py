"""From the encoded images of a batch to the crops for its views."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.source import ImageFiles
from selfsup.views import ViewPlan
from selfsup.views.draws import REPEAT
from selfsup.views.image import native

Skipped = tuple[str, str]


def read_crops(
    source: ImageFiles, draws: list[int], plan: ViewPlan, epoch: int, partners: list[int] | None = None
) -> tuple[dict[int, tuple[list[Tensor], Tensor]], list[Skipped]]:
    """Crops and sizes (height, width) of the readable images, by draw, and (name, reason) of the others.

    Each image is decoded once for all its views, and a JPEG no larger than the views need. The crops
    are uint8 ``(C, height, width)`` and lie where ``plan.crop`` puts them.

    Args:
        draws: images, plus a multiple of ``REPEAT`` where one comes again in the batch.
        partners: the images that views of a pair are drawn from; those themselves by default.

    Returns:
        With partners, sizes are ``(2, 2)``, the image's and the partner's; else ``(2,)``.
    """
    place = plan.places(torch.tensor(draws), epoch)
    crops: dict[int, tuple[list[Tensor], Tensor]] = {}
    skipped: list[Skipped] = []
    for row, draw in enumerate(draws):
        images = [draw % REPEAT, *([] if partners is None else [partners[row]])]
        try:
            found: dict[int, Tensor] = {}
            sizes = []
            for i, of_pair in zip(images, (False, True), strict=False):
                picture = source.picture(i)
                places = place(row, picture.height, picture.width)
                wanted = [k for k, pair in enumerate(plan.of_pair) if partners is None or pair == of_pair]
                found |= zip(wanted, _crops(picture, places, plan, wanted), strict=True)
                sizes.append([picture.height, picture.width])
            views = [found[number] for number in range(len(plan))]
            crops[draw] = views, torch.tensor(sizes if len(sizes) > 1 else sizes[0])
        except UnreadableImage as error:
            skipped.append((error.name, error.reason))
    return crops, skipped


def _crops(
    picture: Picture, places: list[tuple[list[int], bool]], plan: ViewPlan, wanted: list[int]
) -> list[Tensor]:
    """Those of the views numbered ``wanted``."""
    places, sizes = [places[number] for number in wanted], [plan.sizes[number] for number in wanted]
    # Every view needs enough pixels, both ways.
    shrink = min(
        length / pixels
        for (box, _), size in zip(places, sizes, strict=True)
        for length, pixels in zip(box[2:], size, strict=True)
    )
    image, boxes = picture.around([box for box, _ in places], shrink)
    finish = native.planes if plan.natively() else planes
    return [
        finish(crop_resize(image, box, size), mirror, plan.channels)
        for box, (_, mirror), size in zip(boxes, places, sizes, strict=True)
    ]


def crop_resize(image: Tensor, box: list[int], size: tuple[int, int]) -> Tensor:
    """The antialiased crop, uint8 ``(C, *size)``, of one image ``(C, H, W)`` by torch's uint8 kernel."""
    top, left, height, width = box
    part = image[None, :, top : top + height, left : left + width]
    # On a part that is scattered in memory the kernel takes twice the time of copying it together, and it is
    # several times slower on more than four channels.
    fours = (
        F.interpolate(
            four.contiguous(memory_format=torch.channels_last), size, mode="bilinear", antialias=True
        )[0]
        for four in part.split(4, dim=1)
    )
    return next(fours) if len(image) <= 4 else torch.cat(list(fours))


def planes(image: Tensor, mirror: bool, channels: int = 3) -> Tensor:
    """The first ``channels`` of an image ``(C, H, W)``, mirrored or not."""
    return image[:channels].flip(-1) if mirror else image[:channels]
