"""What timm's models do between patches and pooling: with all patches, with some, or with some replaced."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfsup.encoder.abilities import in_columns, sees_beyond, stem
from selfsup.errors import UsageError

# These are passed through block by block: in training each block may be compiled. Eva is EVA, EVA-02, DINOv3
# and the Perception Encoder. Any other model makes its own pass, with hooks at its stem and its blocks.
TRANSFORMERS = (VisionTransformer, Eva)


def passed(
    model: Any,
    images: Tensor,
    grid: tuple[int, int],
    keep: Tensor | None = None,
    mask: Tensor | None = None,
    token: Tensor | None = None,
    run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = lambda part, x: part(x),
) -> Tensor:
    """Tokens ``(N, P + L, D)`` after the last norm, or the last map's places ``(N, L, D)``.

    Args:
        model: with a stem.
        images: normalised, ``(N, C, H, W)``.
        grid: rows and columns of patches, or of places of the last map.
        keep, mask, token: as of :meth:`selfsup.encoder.Encoder.sequence`.
        run: calls the blocks of one of :data:`TRANSFORMERS`.
    """
    if sees_beyond(model):
        images = _shown(images, keep, mask, grid)
    if not isinstance(model, TRANSFORMERS):
        with Passing(model, grid, keep, mask, token):
            return _as_tokens(model.forward_features(images), model, grid)
    patches = model.patch_embed(images)
    if mask is not None and token is not None:
        patches = _replaced(patches, mask, token, grid, last=True)
    tokens, rotary = embedded(model, patches, keep)

    def last(tokens: Tensor) -> Tensor:
        for said in through(model, tokens, rotary):
            tokens = said
        return tokens

    return model.norm(run(last, tokens))  # type: ignore[no-any-return]


def layers(model: Any, images: Tensor, grid: tuple[int, int], attends: Tensor | None = None) -> list[Tensor]:
    """What each block says of all tokens ``(N, P + L, D)``, the last one after the last norm.

    Args:
        model: that has a token for each patch.
        images, grid: as of :func:`passed`.
        attends: as of :func:`through`.
    """
    if not isinstance(model, TRANSFORMERS):
        with Passing(model, grid, attends=attends) as passing:
            passing.collect(model.blocks)
            last = model.forward_features(images)
        return [*passing.said[:-1], last]
    found = list(through(model, *embedded(model, model.patch_embed(images)), attends))
    return [*found[:-1], model.norm(found[-1])]


def _as_tokens(features: Tensor, model: Any, grid: tuple[int, int]) -> Tensor:
    """Tokens as they are, or a last map's places with their channels last."""
    if features.ndim == 3:  # a class token that comes in on the way stands before the places
        return features if in_columns(model) else features[:, -grid[0] * grid[1] :]
    if features.shape[1:] == (*grid, model.num_features):
        return features.flatten(1, 2)
    if features.shape[1:] == (model.num_features, *grid):
        return features.flatten(2).transpose(1, 2)
    raise ValueError(
        f"its last map has the shape {tuple(features.shape[1:])}, not {grid[0]} x {grid[1]} cells"
    )


def embedded(model: Any, patches: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The sequence that the first block gets, and the rotary positions that every block gets.

    Args:
        model: one of :data:`TRANSFORMERS`.
        patches: what its ``patch_embed`` gives.
        keep: indices ``(N, K)`` of the patches to keep; None for all.

    Returns:
        ``(N, P + K, D)``, and None for a model without rotary positions.
    """
    found = model._pos_embed(patches)
    tokens, rotary = found if isinstance(found, tuple) else (found, None)
    if keep is not None:
        prefix = int(model.num_prefix_tokens)
        kept = tokens[:, prefix:].gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        tokens = torch.cat([tokens[:, :prefix], kept], dim=1)
        rotary = None if rotary is None else _turns(rotary, keep)
    return model.norm_pre(tokens), rotary


def through(
    model: Any, tokens: Tensor, rotary: Tensor | None, attends: Tensor | None = None
) -> Iterator[Tensor]:
    """What each block says of the tokens, before the last norm.

    Args:
        model, tokens, rotary: as :func:`embedded` gives them.
        attends: bool ``(N, P + L, P + L)``, True where the token of a row attends to that of a column.
    """
    mask = None if attends is None else attends.unsqueeze(1)
    of_each = rotary is not None and getattr(model, "rope_mixed", False)
    for number, block in enumerate(model.blocks):
        given: dict[str, Any] = {} if mask is None else {"attn_mask": mask}
        if rotary is not None:
            given["rope"] = rotary[number] if of_each else rotary
        if model.grad_checkpointing and torch.is_grad_enabled():  # timm heeds it in its own passes
            tokens = checkpoint(block, tokens, use_reentrant=False, **given)
        else:
            tokens = block(tokens, **given)
        yield tokens


def _shown(images: Tensor, keep: Tensor | None, mask: Tensor | None, grid: tuple[int, int]) -> Tensor:
    """Images whose hidden patches are 0, for a stem that also sees the pixels around a patch."""
    if keep is not None:
        every = torch.ones(len(images), grid[0] * grid[1], dtype=torch.bool, device=images.device)
        images = _emptied(images, every.scatter(1, keep, False), grid)
    return images if mask is None else _emptied(images, mask, grid)


def _emptied(images: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    return images.masked_fill(_enlarged(hidden, grid, images.shape[-2:]).unsqueeze(1), 0)


def _replaced(
    patches: Tensor, hidden: Tensor, token: Tensor, grid: tuple[int, int], last: bool | None = None
) -> Tensor:
    """A stem's patches with a token in the place of the hidden cells, each of one or more patches.

    Args:
        patches: ``(N, places, C)``, ``(N, h, w, C)``, or ``(N, C, h, w)`` unless ``last``.
        hidden: ``(N, L)``, which cells.
        token: ``(C,)``.
        grid: rows and columns of cells.
        last: whether a map has its channels last; None if its shape has to say.
    """
    if last is None and patches.ndim == 4:
        last, first = (patches.shape[axis] == len(token) for axis in (3, 1))
        if last == first:
            raise ValueError(f"the channels of its patches {tuple(patches.shape)} cannot be told from places")
    if patches.ndim == 3:
        by = round((patches.shape[1] / hidden.shape[1]) ** 0.5)
        where = _enlarged(hidden, grid, (grid[0] * by, grid[1] * by)).flatten(1).unsqueeze(-1)
    elif last:
        where = _enlarged(hidden, grid, patches.shape[1:3]).unsqueeze(-1)
    else:
        where, token = _enlarged(hidden, grid, patches.shape[2:]).unsqueeze(1), token.view(-1, 1, 1)
    return torch.where(where, token.to(patches.dtype), patches)


def _enlarged(hidden: Tensor, grid: tuple[int, int], size: Any) -> Tensor:
    cells = hidden.unflatten(1, grid)
    down, across = size[0] // grid[0], size[1] // grid[1]
    return cells.repeat_interleave(down, 1).repeat_interleave(across, 2)


class Passing(ExitStack):
    """A block in which a model of tokens is given some of its patches, others, or a mask of attention.

    Args:
        model: that has a stem and blocks.
        length: patches of an image, L.
        keep: indices ``(N, K)`` of the patches that reach the first block, with their positions.
        mask: which cells are a ``token``, as in :func:`passed`.
        token: in the place of a hidden patch, before positions are added.
        grid: rows and columns of cells.
        attends: as in :func:`through`, for blocks that take a mask.

    Attributes:
        said: what each block said of its tokens.
    """

    def __init__(
        self,
        model: Any,
        grid: tuple[int, int],
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        token: Tensor | None = None,
        attends: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.said: list[Tensor] = []
        self.length, self.keep, self.cut = grid[0] * grid[1], keep, False
        self.attends = None if attends is None else attends.unsqueeze(1)
        if mask is not None and token is not None:
            first = stem(model)
            said = getattr(getattr(first, "output_fmt", None), "value", None)
            last = None if said is None else said == "NHWC"
            replace = partial(_replaced, hidden=mask, token=token, grid=grid, last=last)
            self.enter_context(first.register_forward_hook(lambda module, given, out: _first(replace, out)))
        for block in getattr(model, "blocks", []) if keep is not None or attends is not None else []:
            self.enter_context(block.register_forward_pre_hook(self._select, with_kwargs=True))

    def collect(self, blocks: Any) -> None:
        """Have what each block says appended to :attr:`said`."""
        for block in blocks:
            self.enter_context(block.register_forward_hook(lambda *call: self.said.append(call[2])))

    def _select(self, block: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        tokens, *others = given
        if self.attends is not None:
            named = {**named, "attn_mask": self.attends}
        if self.keep is None:
            return (tokens, *others), named
        # Of a class token that comes in later, the first blocks know nothing.
        before = tokens.shape[1] - (self.keep.shape[1] if self.cut else self.length)
        prefix = torch.arange(before, device=self.keep.device).expand(len(self.keep), -1)
        index = torch.cat([prefix, self.keep + before], dim=1)
        if not self.cut:
            tokens = tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
            self.cut = True
        self._place(getattr(block, "attn", None), index)
        return (tokens, *others), {name: self._placed(name, value, index) for name, value in named.items()}

    def _placed(self, name: str, value: Any, index: Tensor) -> Any:
        """A block's argument, of the tokens that are left."""
        if value is not None and self.keep is not None and name == "rope":
            return _turns(value, self.keep)
        return _pairs(value, index) if value is not None and name.startswith("shared_rel_pos") else value

    def _place(self, attention: Any, index: Tensor) -> None:
        """Restrict an attention's own relative positions to the tokens that are left."""
        if getattr(attention, "relative_position_bias_table", None) is not None:  # BEiT
            bias = _pairs(attention._get_rel_pos_bias(), index)
            self._instead(attention, "_get_rel_pos_bias", lambda: bias)
        elif getattr(attention, "rel_pos", None) is not None:
            found = _pairs(attention.rel_pos.get_bias(), index)
            self._instead(attention.rel_pos, "get_bias", lambda: found)
        elif hasattr(attention, "get_rel_indices"):  # ConViT
            places = attention.get_rel_indices(self.length)[0]
            usual, attention.rel_indices = attention.rel_indices, places[index[:, :, None], index[:, None]]
            self.callback(setattr, attention, "rel_indices", usual)

    def _instead(self, owner: Any, name: str, value: Any) -> None:
        setattr(owner, name, value)
        self.callback(delattr, owner, name)


def _first(change: Any, out: Any) -> Any:
    """What a stem gives, patches or patches and more, with its patches changed."""
    return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)


def _turns(rotary: Tensor, keep: Tensor) -> Tensor:
    """Rotary positions ``(L, D)``, of each head, or of each block and head, of the kept patches."""
    if rotary.ndim == 2:
        return rotary[keep].unsqueeze(1)
    return rotary[:, :, keep].transpose(1, 2) if rotary.ndim == 4 else rotary[:, keep].transpose(0, 1)


def _pairs(bias: Tensor, index: Tensor) -> Tensor:
    """What is added to the attention of pairs ``(heads, T, T)``, for those of ``index`` ``(N, K)``."""
    heads = bias.flatten(0, -3)
    return heads[:, index[:, :, None], index[:, None]].transpose(0, 1)


def recompute_blocks(model: Any, name: str) -> None:
    """Have each block computed again in the backward pass instead of keeping what it computed.

    Loss and gradients stay the same; blocks draw what they drop from the same random numbers again.
    Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.

    Raises:
        UsageError: the network, called so, is no plain vision transformer, or its blocks have batch norms,
            whose running statistics a second pass would move again.
    """
    blocks = model.blocks.modules() if isinstance(model, TRANSFORMERS) else None
    if blocks is None or any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in blocks):
        raise UsageError(
            f"backbone.checkpointing=true computes blocks again, which backbone '{name}' does not allow; "
            "leave it out, or take a vision transformer, such as backbone=vit_tiny"
        )
    model.grad_checkpointing = True  # timm's switch; a stem is computed once
