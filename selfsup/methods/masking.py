"""Masking: which patches of a view are hidden, by the sampler that a configuration names."""

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.methods.batch import Batch
from selfsup.objectives import MASKS, masked_reconstruction, patchify, unpatchify
from selfsup.objectives.devices import sent


class Masking:
    """Hides patches of views, by one of :data:`selfsup.objectives.MASKS`.

    Args:
        sampler: the name of one: ``random``, ``block``, ``connected`` or ``inverse``.
        ratio: share of the patches that are hidden.
        grid: rows and columns of patches.
        method: whose settings these are.
        cell: patches a side of the squares that are hidden as a whole.
        setting: the name of the ratio.

    Raises:
        UsageError: no such sampler, cells that do not fill the grid, or a ratio that hides no patch or all.

    Example:
        >>> Masking("block", 0.4, (8, 8), "mae")
        Masking(block, 0.4 of 8 x 8)
    """

    def __init__(
        self,
        sampler: str,
        ratio: float,
        grid: tuple[int, int],
        method: str,
        cell: int = 1,
        setting: str = "mask_ratio",
    ) -> None:
        if sampler not in MASKS:
            raise UsageError(f"method.masking is one of {', '.join(MASKS)}, got '{sampler}'")
        rows, columns = grid
        if rows % cell or columns % cell:
            raise UsageError(
                f"method.cell={cell} does not divide {rows} x {columns} patches; take a divisor, such as 1"
            )
        self.name, self.sampler, self.ratio, self.cell = sampler, MASKS[sampler], ratio, cell
        self.grid = rows, columns = rows // cell, columns // cell
        if rows * columns < 2:
            raise UsageError(
                f"{method} hides some patches of an image and shows the others, and there is one patch; "
                f"set a smaller {'backbone.model_args.patch_size' if cell == 1 else 'method.cell'}"
            )
        try:
            seen = self.sampler(1, self.grid, ratio, torch.Generator())[0].shape[1]
        except ValueError:
            seen = 0
        if not 0 < seen < rows * columns:
            least, most = 1 / (rows * columns), 1 - 1 / (rows * columns)
            raise UsageError(
                f"method.{setting}={ratio} hides {rows * columns - seen} of {rows} x {columns} patches, "
                f"where some have to be hidden and some seen; take {least:.2g} to {most:.2g}"
            )

    def __repr__(self) -> str:
        return f"Masking({self.name}, {self.ratio} of {self.grid[0]} x {self.grid[1]})"

    def __call__(self, n: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Ascending indices of the patches of n images that are kept ``(n, K)``, and which are hidden
        ``(n, L)``."""
        keep, hidden = self.sampler(n, self.grid, self.ratio, batch.generator)
        if self.cell > 1:
            cells = hidden.view(n, *self.grid)
            hidden = cells.repeat_interleave(self.cell, 1).repeat_interleave(self.cell, 2).flatten(1)
            keep = (~hidden).nonzero()[:, 1].view(n, -1)
        return sent(keep, batch.device), sent(hidden, batch.device)


def painting(
    images: Tensor,
    painted: Tensor,
    hidden: Tensor,
    patch: int,
    normalize: bool = False,
    seen: Tensor | None = None,
) -> dict[str, Tensor]:
    """Pictures of a method that paints what is hidden: the image, what the encoder sees, what it paints.

    Args:
        images: ``(N, C, H, W)``.
        painted: predicted patches ``(N, L, P)``; only the hidden ones are shown.
        hidden: ``(N, L)``.
        patch: pixels a side.
        normalize: whether what is painted is a patch less its mean, divided by its standard deviation.
        seen: patches that the encoder sees; by default all but the hidden ones.
    """
    hidden, target = hidden.unsqueeze(-1), patchify(images, patch)
    grid = images.shape[-2] // patch, images.shape[-1] // patch
    if normalize:
        painted = painted * (target.var(-1, keepdim=True) + 1e-6).sqrt() + target.mean(-1, keepdim=True)
    note = ", each patch with its own mean and contrast" if normalize else ""
    return {
        "The image": images,
        "What the encoder sees": unpatchify(target.where(~hidden, 0) if seen is None else seen, patch, grid),
        f"What it paints in{note}": unpatchify(target.where(~hidden, painted), patch, grid),
    }


def of_one_colour(painted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """The absolute error of what is painted, as a share of that of the median of all values everywhere.

    Args:
        painted: patches ``(N, L, P)``.
        target: the right ones.
        hidden: ``(N, L)``, those that count.
    """
    ours, constant = (
        masked_reconstruction(each, target, hidden, normalize=False, power=1.0)
        for each in (painted, target.median().expand_as(target))
    )
    return ours / constant
