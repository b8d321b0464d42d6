"""AugSelf: how two views of an image were made differently, told from their features.

Lee et al. 2021, "Improving Transferability of Representations via Augmentation-Aware Self-Supervision",
arXiv:2111.09613. Read in the authors' code (hankook/AugSelf): the heads, the targets and their units, the
losses, both orders of a pair, and weights of crop and colour, the only ones in its published commands: 1 on
STL-10, .5 on 100 classes of ImageNet. Not verified: weights of flip and blur, which are off here.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.objectives import all_reduce_mean
from selfsup.views import ViewPlan


class AugSelf(nn.Module):
    """The weighted sum of four losses, each the mean over all ordered pairs of views:

    * ``crop``: the difference of the boxes' centres, heights and widths, as shares of the image, with left
      and right as the first view shows them: mean squared error of tanh of the head's four outputs.
    * ``flip``: whether both views are mirrored or neither: binary cross-entropy.
    * ``colour``: the difference of brightness, contrast, saturation and hue, in units of the jitter's whole
      range: as ``crop``. Of channels that are not colours, brightness and contrast of each.
    * ``blur``: the difference of the blurs' widths, in units of the widest: as ``crop``. The code has pixels.

    What no view of the plan has, such as blur of small images, is left out. Each head is an MLP of three
    layers on the two views' features behind one another.

    Args:
        encoder: that is trained.
        views: the plan of views.
        crop, flip, colour, blur: weights; 0 leaves the loss out.
        hidden: width of the heads.

    Raises:
        UsageError: the views differ in nothing that has a weight, or are of two images, or a method gives
            features of one view.
    """

    units: Tensor

    def __init__(
        self,
        encoder: Encoder,
        views: ViewPlan,
        crop: float,
        flip: float,
        colour: float,
        blur: float,
        hidden: int,
    ) -> None:
        super().__init__()
        if any(views.of_pair):
            raise UsageError(
                "auxiliary=augself compares views of one image, and of=pair draws some from another; leave "
                "one of the two out"
            )
        kinds, self.coloured = views.views, views.coloured
        strengths = _strengths(views)
        self.register_buffer("units", torch.tensor([2 * each or 1.0 for each in strengths]), persistent=False)
        self.widest = max(
            kind.sigma[1] * (size[0] * size[1]) ** 0.5 / kind.recipe_size
            for kind, size in zip(kinds, views.sizes, strict=True)
        )
        weights = {"crop": crop, "flip": flip, "colour": colour, "blur": blur}
        differing = {
            "crop": any(kind.scale[0] < 1 for kind in kinds),
            "flip": any(kind.mirror for kind in kinds),
            "colour": any(strengths),
            "blur": any(kind.blur for kind in kinds),
        }
        self.weights = {name: weight for name, weight in weights.items() if weight and differing[name]}
        if not self.weights:
            raise UsageError(
                "auxiliary=augself has nothing to tell, as no view has what it gives a weight to; take views "
                "that are cropped or recoloured"
            )
        outputs = {"crop": 4, "flip": 1, "colour": len(strengths), "blur": 1}
        self.heads = nn.ModuleDict(
            {name: _head(2 * encoder.dim, hidden, outputs[name]) for name in self.weights}
        )

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        if len(features) < 2:
            raise UsageError(
                "auxiliary=augself compares the features of two views, and the method gives those of one; "
                "take method=simclr or vicreg, or a plan of two views such as views=simclr"
            )
        made = [batch.drawn(k) for k in range(len(features))]
        pairs = list(permutations(range(len(features)), 2))
        both = torch.cat([torch.cat([features[i], features[j]], dim=1) for i, j in pairs])
        total = both.new_zeros((), dtype=torch.float32)
        for name, weight in self.weights.items():
            told = self.heads[name](both).float()
            target = torch.cat([self.target(name, made[i], made[j]) for i, j in pairs])
            if name == "flip":
                loss = F.binary_cross_entropy_with_logits(told, target)
            else:
                loss = F.mse_loss(told.tanh(), target)
            total = total + weight * loss
        return all_reduce_mean(total)

    def target(self, name: str, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
        """What a head has to tell, ``(N, outputs)`` float32, from :meth:`ViewPlan.drawn` of two views."""
        if name == "flip":
            return (one["mirror"] == other["mirror"]).float()[:, None]
        if name == "blur":
            return (one["sigma"] - other["sigma"])[:, None] / self.widest
        if name == "colour":
            factors = [
                made["jitter"] if self.coloured else made["channels"].flatten(1) for made in (one, other)
            ]
            return (factors[0] - factors[1]) / self.units
        centre, size = ((a - b) for a, b in zip(_centred(one["box"]), _centred(other["box"]), strict=True))
        across = torch.where(one["mirror"], -centre[:, 1], centre[:, 1])
        return torch.cat([centre[:, :1], across[:, None], size], dim=1).float()


def _centred(box: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes, ``(N, 2)`` each, of boxes ``(N, 4)``."""
    corner, size = box.chunk(2, dim=1)
    return corner + size / 2, size


def _strengths(views: ViewPlan) -> list[float]:
    """The largest strength of each factor that a view's colours, or each of its channels, are changed by."""
    names = ("brightness", "contrast", "saturation", "hue") if views.coloured else ("brightness", "contrast")
    largest = [max(getattr(kind, name) if kind.jitter else 0.0 for kind in views.views) for name in names]
    return [each for each in largest for _ in range(1 if views.coloured else views.channels)]


def _head(width: int, hidden: int, outputs: int) -> nn.Module:
    layers: list[Any] = [
        (width, hidden, nn.BatchNorm1d(hidden), nn.ReLU()),
        (hidden, hidden, nn.BatchNorm1d(hidden), nn.ReLU()),
        (hidden, outputs, None, None),
    ]
    return ProjectionHead(layers)
