"""Objectives that predict hidden parts of the input, as pixels or as a teacher's tokens."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean, all_reduce_sum, world_size
from selfsup.objectives.precision import (
    check_dimensions,
    check_floating,
    check_positive,
    check_same_shape,
    full_precision,
)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into squares: (N, C, H, W) -> (N, L, patch * patch * C), L = (H / patch) * (W / patch).

    Patches are in raster order, the values of a patch in the order row, column, channel (MAE's).

    Raises:
        ValueError: images without four axes, or sides that `patch` does not divide.

    >>> patchify(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 1]
    tensor([2., 3., 6., 7.])
    """
    check_dimensions("N C H W", images=images)
    n, channels, height, width = images.shape
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch must divide the sides of the images, {height} x {width}, got {patch}")
    rows, columns = height // patch, width // patch
    squares = images.reshape(n, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return squares.reshape(n, rows * columns, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: Sequence[int] | None = None) -> Tensor:
    """Squares put together to images, the inverse of :func:`patchify`.

    Args:
        patches: (N, L, patch * patch * C).
        grid: (rows, columns) of L patches; by default those of a square image.

    Returns:
        (N, C, H, W) of H = rows * patch and W = columns * patch.

    Raises:
        ValueError: patches that do not make an image of the grid, or without one a square.

    >>> images = torch.arange(48.0).reshape(1, 3, 4, 4)
    >>> torch.equal(unpatchify(patchify(images, 2), 2), images)
    True
    """
    check_dimensions("N L P", patches=patches)
    n, length, values = patches.shape
    rows, columns = (round(length**0.5),) * 2 if grid is None else grid
    channels = values // patch**2
    if rows * columns != length or channels * patch**2 != values:
        shape = "square image" if grid is None else f"image of {rows} x {columns}"
        raise ValueError(f"patches {tuple(patches.shape)} of {patch} a side do not make a {shape}")
    squares = patches.reshape(n, rows, columns, patch, patch, channels).permute(0, 5, 1, 3, 2, 4)
    return squares.reshape(n, channels, rows * patch, columns * patch)


@full_precision
def masked_reconstruction(
    prediction: Tensor, target: Tensor, mask: Tensor, normalize: bool = True, power: float = 2.0
) -> Tensor:
    """Error on hidden patches: squared (MAE, He et al. 2022, arXiv:2111.06377, section 3) or absolute.

    With y the target patch, less its mean and divided by sqrt(var + 1e-6) over its P values if `normalize`
    (the variance is unbiased, as in the published code):

        L = sum over hidden patches of mean_P |prediction - y|^power / number of hidden patches

    A power of 1, of values that are not normalised, is the loss of SimMIM (Xie et al. 2022, arXiv:2111.09886;
    its code adds 1e-5 to the number of hidden pixels) and of GMML (Atito et al. 2022, arXiv:2205.14986).
    SparK's (Tian et al. 2023, arXiv:2301.03580) is MAE's. Sum and number are of all processes, which may hide
    different numbers of patches. No gradient goes to the target.

    Args:
        prediction: (N, L, P) predicted values of the patches.
        target: (N, L, P) true values, as from `patchify`.
        mask: (N, L) bool, True where the patch was hidden from the encoder.
        normalize: whether each target patch is standardised.
        power: of the error of a value, above 0.

    Returns:
        Scalar, at least float32. With a power of 2, (P - 1) / P for a prediction of zeros where normalised
        patches are not flat.

    Raises:
        ValueError: shapes that do not match, tensors that are not floating or not finite, a mask that is not
            bool, that hides nothing or leaves nothing visible (checked where `check_finite` checks), or
            P = 1 with `normalize`.

    >>> target = torch.tensor([[[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 9.0]]])
    >>> round(masked_reconstruction(torch.zeros(1, 2, 4), target, torch.tensor([[True, False]])).item(), 4)
    0.75
    """
    check_floating(prediction=prediction, target=target)
    check_positive(power=power)
    check_dimensions("N L P", prediction=prediction, target=target)
    check_same_shape(prediction=prediction, target=target)
    if mask.dtype != torch.bool or mask.shape != prediction.shape[:2]:
        expected, got = tuple(prediction.shape[:2]), f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"mask must be a bool tensor of shape {expected}, got {got}")
    _check_mask(mask)
    if normalize and target.shape[-1] < 2:
        raise ValueError("target must have patches of at least two values to be normalised, got one")

    target = target.detach()
    if normalize:
        target = (target - target.mean(-1, keepdim=True)) * (target.var(-1, keepdim=True) + 1e-6).rsqrt()
    errors = (prediction - target).abs().pow(power).mean(-1)
    hidden = torch.stack([torch.where(mask, errors, 0).sum(), mask.sum().to(errors.dtype)])
    error, count = all_reduce_sum(hidden).unbind()
    return error / count.clamp(min=1)


def _check_mask(mask: Tensor) -> None:
    if torch.compiler.is_compiling() or mask.device.type != "cpu":
        return
    if mask.all():
        raise ValueError("mask must keep a patch visible to the encoder, but it hides all of them")
    # One of several processes may have nothing to predict.
    if world_size() == 1 and not mask.any():
        raise ValueError("mask must hide a patch, as only hidden ones are predicted, but all are visible")


@full_precision
def latent_prediction(prediction: Tensor, target: Tensor) -> Tensor:
    """Smooth-L1 distance to layer-normed tokens (I-JEPA, Assran et al. 2023, arXiv:2301.08243).

    With y = (target - mean) / sqrt(var + 1e-5) over the last axis (no affine part) and e = prediction - y:

        L = mean of e^2 / 2 where |e| < 1, of |e| - 1/2 elsewhere

    The layer norm and smooth L1 are those of the published code; the paper's text says squared distance. No
    gradient goes to the target. Processes are assumed to predict equally many tokens.

    Args:
        prediction: (..., D) predicted tokens.
        target: (..., D) the teacher's tokens at the same positions.

    Returns:
        Scalar, at least float32. About 0.425 for a prediction of zeros of normally distributed tokens.

    Raises:
        ValueError: shapes that differ, tensors that are empty, not floating or not finite, or D = 1.

    >>> target = torch.tensor([[-2.0, 2.0], [2.0, -2.0]])
    >>> round(latent_prediction(torch.zeros(2, 2), target).item(), 4)
    0.5
    """
    check_floating(prediction=prediction, target=target)
    check_same_shape(prediction=prediction, target=target)
    if prediction.ndim < 1 or prediction.shape[-1] < 2 or prediction.numel() == 0:
        raise ValueError(f"prediction must hold tokens of at least two values, got {tuple(prediction.shape)}")
    target = F.layer_norm(target.detach(), target.shape[-1:], eps=1e-5)
    return all_reduce_mean(F.smooth_l1_loss(prediction, target, beta=1.0))
