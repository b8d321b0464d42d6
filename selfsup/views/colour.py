"""How a view looks: colour jitter, greyscale, blur and solarisation, with each sample's own parameters.

Images are float ``(N, 3, H, W)`` in [0, 1]. The operations are torchvision's float ones, value for
value; those that apply to some samples only compute only those.
"""

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


def greyscale(images: Tensor) -> Tensor:
    """Luma ``(N, 1, H, W)`` of RGB images (ITU-R 601)."""
    weight = images.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (images * weight).sum(dim=1, keepdim=True)


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in each sample's own order.

    Args:
        images: ``(N, 3, H, W)``.
        factors: ``(N, 4)``: brightness, contrast and saturation factors, hue shift in turns.
        order: ``(N, 4)`` permutations; column k says which operation comes k-th.
    """
    for operation in order.unbind(dim=1):
        factor = factors.gather(1, operation.unsqueeze(1)).view(-1, 1, 1, 1)
        grey = greyscale(images)
        # brightness blends with black, contrast with the mean grey, saturation with the grey image
        blend = torch.where((operation == _SATURATION).view(-1, 1, 1, 1), grey, 0.0)
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        blend = torch.where((operation == _CONTRAST).view(-1, 1, 1, 1), mean, blend)
        hued = (operation == _HUE).nonzero().squeeze(1)
        rotated = shift_hue(images[hued], factor[hued]) if len(hued) else None
        images = (factor * images + (1 - factor) * blend).clamp(0, 1)
        if rotated is not None:
            images = images.index_copy(0, hued, rotated)
    return images


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of ``(N, 3, H, W)`` by ``shift`` ``(N, 1, 1, 1)`` turns, in HSV."""
    red, green, blue = images.unbind(dim=1)
    value, low = images.amax(dim=1), images.amin(dim=1)
    chroma = value - low
    safe = torch.where(chroma == 0, 1.0, chroma)
    is_red, is_green = value == red, (value == green) & (value != red)
    hue = torch.where(is_green, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = torch.where(is_red, (green - blue) / safe, hue)
    hue = torch.where(chroma == 0, 0.0, hue)
    hue = (hue + 6 * shift.squeeze(1)).unsqueeze(1)
    # channel = value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + hue) mod 6, n = 5, 3, 1
    offset = images.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    k = (offset + hue) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each sample's ``sigma`` ``(N,)`` pixels, mirrored at the borders.

    The kernel is cut at three sigmas, or at the image's size where that is less.
    """
    rows, columns = (_blurring(sigma, length) for length in images.shape[2:])
    return rows.unsqueeze(1) @ (images @ columns.mT.unsqueeze(1))


def _blurring(sigma: Tensor, length: int) -> Tensor:
    """Matrices ``(N, length, length)`` of the Gaussian with reflected borders."""
    reach = (3 * sigma).ceil().unsqueeze(1)
    radius = max(1, min(length - 1, int(reach.max())))
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = (-0.5 * (offset / sigma.unsqueeze(1)) ** 2).exp()
    # Each kernel ends at its own reach, lest a sample's blur depend on the widest of its batch.
    kernel = kernel * (offset.abs() <= reach)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    source = torch.arange(length, device=sigma.device).unsqueeze(1) + offset
    source = source.abs()
    source = torch.where(source >= length, 2 * (length - 1) - source, source)
    band = torch.nn.functional.one_hot(source, length).to(kernel.dtype)
    return torch.einsum("nk,lks->nls", kernel, band)


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert the values at or above ``threshold``."""
    return torch.where(images >= threshold, 1 - images, images)
