"""Convolutional networks that see a part of their images: the masked pass of SparK, exact with dense kernels.

Tian et al. 2023, "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked Modeling",
arXiv:2301.03580, section 3.1. Every operation leaves hidden places out, as sparse convolutions would: a
network whose images alone are masked paints over the mask layer by layer, and its batch norms count the gaps.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from selfsup.objectives.distributed import all_reduce_sum
from selfsup.sides import in_words, sides

Axes = tuple[int, int]
_CHANNELS: dict[Axes, int] = {(2, 3): 1, (1, 2): 3}  # the axis of channels, by those of height and width


class Masked(TorchFunctionMode):
    """A block in which the operations of a network see the visible places of maps alone.

    A map is a tensor whose height and width are multiples of the mask's and divide the images'; its mask is
    that of the cells, enlarged by the nearest neighbour. Convolutions, pools and paddings take hidden places
    as 0 (an average pool goes on dividing by its whole window). Batch norms in training mode and their
    running statistics, group norms, and means, sums, norms and maxima over height and width are of visible
    places. What an operation gives at hidden places is to be ignored.

    The network stays as it is: nothing of it is replaced or copied.

    Args:
        model: the network, whose :class:`~torch.nn.SyncBatchNorm` take the visible places of all processes.
        visible: (N, rows, columns) bool, which cells of each image are seen.
        size: pixels a side of the images, or their height and width.
        elsewhere: a value to put at the hidden places of every map, to see whether it changes anything.

    Example:
        >>> network, image = nn.Conv2d(1, 1, 3, padding=1), torch.zeros(1, 1, 4, 4)
        >>> with Masked(network, torch.tensor([[[True, False]] * 2]), size=4):
        ...     seen, changed = network(image), network(image + torch.tensor([0.0, 0.0, 1.0, 1.0]))
        >>> torch.equal(seen[..., :2], changed[..., :2])
        True
    """

    def __init__(
        self, model: nn.Module, visible: Tensor, size: int | Sequence[int], elsewhere: float | None = None
    ) -> None:
        super().__init__()
        self.size, self.elsewhere = sides(size), elsewhere
        self.samples, self.rows, self.columns = visible.shape
        self._masks = {(self.rows, self.columns): ~visible}
        # In training mode they call code of their own; in evaluation mode, a batch norm like any other, which
        # is known in here by its running mean.
        self._synced = {
            id(m.running_mean): m for m in model.modules() if isinstance(m, nn.SyncBatchNorm) and m.training
        }

    def __enter__(self) -> Self:
        for norm in self._synced.values():
            norm.eval()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for norm in self._synced.values():
            norm.train()

    def hidden(self, x: Any) -> tuple[Tensor, Axes] | None:
        """Which places of a map are hidden, with one channel, and its axes of height and width; or None."""
        if isinstance(x, Tensor) and x.ndim == 4 and len(x) == self.samples and not hasattr(x, "padded"):
            for axes, channels in _CHANNELS.items():
                if (mask := self._mask(x.shape[axes[0]], x.shape[axes[1]])) is not None:
                    return mask.unsqueeze(channels), axes
        return None

    def _mask(self, height: int, width: int) -> Tensor | None:
        by = height // self.rows
        if not by or self.size[0] % height or (by * self.rows, by * self.columns) != (height, width):
            return None
        if (height, width) not in self._masks:
            cells = self._masks[self.rows, self.columns]
            self._masks[height, width] = cells.repeat_interleave(by, 1).repeat_interleave(by, 2)
        return self._masks[height, width]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        masked = _MASKED.get(getattr(func, "__name__", ""))
        if masked is not None and args and (found := self.hidden(args[0])) is not None:
            result = masked(self, func, *found, *args, **kwargs)
        else:
            result = func(*args, **kwargs)
        if self.elsewhere is not None and (found := self.hidden(result)) and result.is_floating_point():
            return result.masked_fill(found[0], self.elsewhere)
        return result

    # Arguments: an operation, a map's hidden places, its axes of height and width, the operation's own.

    def _conv2d(self, func: Any, hidden: Tensor, axes: Axes, x: Tensor, weight: Tensor, *args: Any) -> Tensor:
        alone = weight.shape[2:] == (1, 1)  # each place by itself
        result: Tensor = func(x if alone else x.masked_fill(hidden, 0), weight, *args)
        return result

    def _pool2d(self, func: Any, hidden: Tensor, axes: Axes, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = func(x.masked_fill(hidden, 0), *args, **kwargs)
        return result

    def _pad(self, *args: Any, **kwargs: Any) -> Any:
        result: Any = self._pool2d(*args, **kwargs)
        result.padded = True  # its places are those of no mask
        return result

    def _sum(
        self, func: Any, hidden: Tensor, axes: Axes, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        empty = -torch.inf if func.__name__ == "amax" else 0
        result: Tensor = func(x.masked_fill(hidden, empty) if _over(dim, axes) else x, dim, *args, **kwargs)
        return result

    def _norm(
        self, func: Any, hidden: Tensor, axes: Axes, x: Tensor, p: Any = "fro", dim: Any = None, **kwargs: Any
    ) -> Tensor:
        result: Tensor = func(x.masked_fill(hidden, 0) if _over(dim, axes) else x, p, dim, **kwargs)
        return result

    def _mean(
        self, func: Any, hidden: Tensor, axes: Axes, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        mean = self._sum(func, hidden, axes, x, dim, *args, **kwargs)
        if not _over(dim, axes):
            return mean
        share = (~hidden).float().mean((1, 2, 3)).view(-1, *[1] * (mean.ndim - 1))
        return (mean / share).to(mean.dtype)

    def _batch_norm(
        self,
        func: Any,
        hidden: Tensor,
        axes: Axes,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        synced = self._synced.get(id(running_mean)) if running_mean is not None else None
        if not training and synced is None:
            return torch.batch_norm(
                x, weight, bias, running_mean, running_var, False, momentum, eps, torch.backends.cudnn.enabled
            )
        total = _own if synced is None else all_reduce_sum
        with torch.autocast(x.device.type, enabled=False):
            wide, shown = _wide(x, hidden)
            count = total(shown.sum())
            mean = total(_sums(wide, shown).sum(0)) / count
            centred = wide - mean.view(-1, 1, 1)
            variance = total(_sums(centred.square(), shown).sum(0)) / count
            if running_mean is not None and running_var is not None:
                with torch.no_grad():
                    running_mean.lerp_(mean.to(running_mean), momentum)
                    running_var.lerp_((variance * count / (count - 1).clamp(min=1)).to(running_var), momentum)
            if synced is not None and synced.num_batches_tracked is not None:
                synced.num_batches_tracked.add_(1)
            return _affine(centred, (variance + eps).rsqrt().view(-1, 1, 1), weight, bias).to(x.dtype)

    def _group_norm(
        self,
        func: Any,
        hidden: Tensor,
        axes: Axes,
        x: Tensor,
        groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide, shown = _wide(x, hidden)
            each = x.shape[1] // groups
            count = shown.sum((1, 2)).view(-1, 1, 1) * each

            def mean(values: Tensor) -> Tensor:  # (N, C, 1, 1), of each group's visible values
                found = _sums(values, shown).unflatten(1, (groups, each)).sum(2, keepdim=True) / count
                return found.expand(-1, -1, each).flatten(1).unflatten(1, (-1, 1, 1))

            centred = wide - mean(wide)
            return _affine(centred, (mean(centred.square()) + eps).rsqrt(), weight, bias).to(x.dtype)


_MASKED: dict[str, Callable[..., Any]] = {
    "conv2d": Masked._conv2d,
    "conv_transpose2d": Masked._pool2d,
    "max_pool2d": Masked._pool2d,
    "avg_pool2d": Masked._pool2d,
    "pad": Masked._pad,
    "sum": Masked._sum,
    "amax": Masked._sum,
    "norm": Masked._norm,
    "mean": Masked._mean,
    "batch_norm": Masked._batch_norm,
    "group_norm": Masked._group_norm,
}


def _over(dim: Any, axes: Axes) -> bool:
    """Whether dimensions are those of height and width."""
    return isinstance(dim, Sequence) and sorted(axis % 4 for axis in dim) == list(axes)


def _own(x: Tensor) -> Tensor:
    return x


def _wide(x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """A map in at least float32, and 1 where its places are visible and 0 elsewhere ``(N, places, 1)``."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide, (~hidden).flatten(2).transpose(1, 2).to(wide)


def _sums(x: Tensor, shown: Tensor) -> Tensor:
    """Sums ``(N, C)`` over visible places: a product of matrices, which needs no masked copy of the map."""
    return (x.flatten(2) @ shown).squeeze(2)


def _affine(centred: Tensor, scale: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scale = scale if weight is None else scale * weight.view(-1, 1, 1)
    return centred * scale if bias is None else torch.addcmul(bias.view(-1, 1, 1), centred, scale)


def feature_maps(model: Any, images: Tensor, visible: Tensor | None = None) -> list[Tensor]:
    """The last map of each size that a timm model makes of its stages, the smallest as it is before pooling.

    Args:
        model: one that has ``forward_intermediates``.
        images: ``(N, C, H, W)``.
        visible: ``(N, rows, columns)`` bool; the cells to see. Other places are 0 then.

    Returns:
        Maps ``(N, D, h, w)``, from large to small.
    """
    size = images.shape[-2], images.shape[-1]
    mode = nullcontext() if visible is None else Masked(model, visible, size)
    with mode:
        last, maps = model.forward_intermediates(images)
    found = {x.shape[-1]: x for x in (*maps, last)}
    if visible is not None:
        assert isinstance(mode, Masked)
        found = {side: _emptied(x, mode) for side, x in found.items()}
    return [found[side] for side in sorted(found, reverse=True)]


def _emptied(x: Tensor, mode: Masked) -> Tensor:
    """A map that is 0 where it is hidden."""
    found = mode.hidden(x)
    if found is None:
        size = in_words(mode.size)
        raise ValueError(f"maps {tuple(x.shape)} do not tile images of {size} by the mask's cells")
    return x.masked_fill(found[0], 0)


@torch.no_grad()
def leaks(model: nn.Module, size: int | Sequence[int], cells: tuple[int, int], channels: int = 3) -> bool:
    """Whether what is at hidden places of images or maps of a model reaches a visible one, as a trial shows.

    All operations are looked at, also those behind a factor that is initialised to nothing.

    Args:
        size: pixels a side of the images, or their height and width.
        cells: rows and columns of the mask, at least two cells.
        channels: of the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        visible = torch.rand(2, prod(cells)).argsort(1).view(2, *cells) < max(1, prod(cells) // 2)
        height, width = sides(size)
        images = torch.randn(2, channels, height, width)
        places = visible.repeat_interleave(height // cells[0], 1).repeat_interleave(width // cells[1], 2)
        found = []
        for value in (-3.5, 7.25):
            torch.manual_seed(1)
            tried: Any = deepcopy(model).train()
            for parameter in tried.parameters():
                if parameter.min() == parameter.max():
                    parameter.uniform_(0.5, 1.5)
            with Masked(tried, visible, size, elsewhere=value) as mode:
                last, maps = tried.forward_intermediates(images.where(places.unsqueeze(1), value))
            found.append([*(_emptied(x, mode) for x in (*maps, last)), *tried.buffers()])
    return not all(torch.equal(one, other) for one, other in zip(*found, strict=True))
