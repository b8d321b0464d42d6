"""GMML: groups of connected patches are corrupted, and what was there is painted back.

Atito et al. 2022, "GMML is All you Need", arXiv:2205.14986.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import ONE_COLOUR
from selfsup.methods.masking import Masking, of_one_colour, painting
from selfsup.methods.requirements import require_full_size
from selfsup.objectives import masked_reconstruction, patchify, unpatchify

# What takes the place of patches (N, L, P) of normalised images.
CORRUPTIONS: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "noise": lambda patches, batch: batch.normal(*patches.shape).to(patches),
    "alien": lambda patches, batch: patches.roll(1, 0),  # the same place of another image of the batch
    "grey": lambda patches, batch: torch.zeros_like(patches),
    "flat": lambda patches, batch: patches.mean(1, keepdim=True).expand_as(patches),  # the mean patch
}


class GMML(Method):
    """The encoder computes whole images with corrupted groups of patches; a small head restores these.

    The paper's decoder is two pointwise convolutions; ours is two linear layers for each patch, which is the
    same. The loss is of the corrupted patches alone.

    Args:
        corruptions: the share of the patches that each of :data:`CORRUPTIONS` takes, one after another.
        masking: how they are drawn, a name of :data:`selfsup.objectives.MASKS`.
    """

    failures = (ONE_COLOUR,)

    def __init__(self, *, corruptions: Mapping[str, float], masking: str, **common: Any) -> None:
        super().__init__(**common)
        require_full_size(self.views, self.encoder, "gmml")
        used = {name: ratio for name, ratio in corruptions.items() if ratio}
        if not used:
            raise UsageError(
                "method.corruptions corrupt nothing; give one a share, such as method.corruptions.noise=0.5"
            )
        if sum(used.values()) >= 1:
            raise UsageError(
                f"method.corruptions add up to {sum(used.values()):.2g} and could leave nothing as it is; "
                "together take less than 1"
            )
        self.masks = {
            name: Masking(masking, ratio, self.encoder.grid, "gmml", setting=f"corruptions.{name}")
            for name, ratio in used.items()
        }
        width, values = self.encoder.dim, self.encoder.channels * self.encoder.patch_size**2
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, values))

    def loss(self, batch: Batch) -> Output:
        target = patchify(batch.images, self.encoder.patch_size)
        corrupted, hidden = self.corrupt(target, batch)
        return Output(
            masked_reconstruction(self.paint(corrupted), target, hidden, normalize=False, power=1.0)
        )

    def corrupt(self, patches: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Patches ``(N, L, P)`` of which some are corrupted, and which these are ``(N, L)``."""
        hidden = {name: mask(len(patches), batch)[1] for name, mask in self.masks.items()}
        corrupted = patches
        for name, where in hidden.items():
            corrupted = torch.where(where.unsqueeze(-1), CORRUPTIONS[name](patches, batch), corrupted)
        return corrupted, torch.stack(list(hidden.values())).any(dim=0)

    def paint(self, corrupted: Tensor) -> Tensor:
        """Restored patches of corrupted ones, both ``(N, L, P)``."""
        return self.head(
            self.encoder.tokens(unpatchify(corrupted, self.encoder.patch_size, self.encoder.grid))
        )

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        n = len(batch.views) * len(batch)
        return {name: mask(n, batch)[1] for name, mask in self.masks.items()}

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.views[0]
        target = patchify(images, self.encoder.patch_size)
        corrupted, hidden = self.corrupt(target, batch)
        share = of_one_colour(self.paint(corrupted), target, hidden)
        return {"backbone": self.encoder(images), "one_colour": share}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        images, patch = batch.views[0], self.encoder.patch_size
        corrupted, hidden = self.corrupt(patchify(images, patch), batch)
        return painting(images, self.paint(corrupted), hidden, patch, seen=corrupted)
