"""Masking: which patches of a view are hidden, by the sampler that a configuration names."""

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.objectives import MASKS


class Masking:
    """Hides patches of views, by one of :data:`selfsup.objectives.MASKS`.

    Args:
        sampler: the name of one: ``random``, ``block``, ``connected`` or ``inverse``.
        ratio: share of the patches that are hidden.
        grid: rows and columns of patches.
        method: whose settings these are.

    Raises:
        UsageError: no such sampler, or a ratio that hides no patch or all.

    Example:
        >>> Masking("block", 0.4, (8, 8), "mae")
        Masking(block, 0.4 of 8 x 8 patches)
    """

    def __init__(self, sampler: str, ratio: float, grid: tuple[int, int], method: str) -> None:
        if sampler not in MASKS:
            raise UsageError(f"method.masking is one of {', '.join(MASKS)}, got '{sampler}'")
        self.name, self.sampler, self.ratio, self.grid = sampler, MASKS[sampler], ratio, grid
        rows, columns = grid
        patches = rows * columns
        if patches < 2:
            raise UsageError(
                f"{method} hides some patches of an image and shows the others, and there is one patch; "
                "set a smaller backbone.model_args.patch_size"
            )
        try:
            seen = self.sampler(1, grid, ratio, torch.Generator())[0].shape[1]
        except ValueError:
            seen = 0
        if not 0 < seen < patches:
            least, most = 1 / patches, 1 - 1 / patches
            raise UsageError(
                f"method.mask_ratio={ratio} hides {patches - seen} of {rows} x {columns} patches, "
                f"where some have to be hidden and some seen; take {least:.2g} to {most:.2g}"
            )

    def __repr__(self) -> str:
        return f"Masking({self.name}, {self.ratio} of {self.grid[0]} x {self.grid[1]} patches)"

    def __call__(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Ascending indices of the patches of n images that are kept ``(n, K)``, and which are hidden
        ``(n, L)``."""
        keep, hidden = self.sampler(n, self.grid, self.ratio, batch.generator)
        return keep.to(batch.device), hidden.to(batch.device)
