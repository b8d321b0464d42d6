"""What a timm model can be asked for, read off its parts: patches, tokens of one width, square cells."""

from typing import Any

from torch import nn

from selfsup.sides import sides

Sides = tuple[int, int]


def stem(model: nn.Module) -> Any:
    """The module that makes a token of each patch; None if the model does not begin with one.

    NaFlex has it inside of one that also adds positions; mixers of tokens call theirs a stem.
    """
    inside = getattr(getattr(model, "embeds", None), "proj", None)
    first = inside or getattr(model, "patch_embed", None)
    if isinstance(first, nn.Module):
        return None if isinstance(first, nn.ModuleList) else first
    return first if hasattr(first := getattr(model, "stem", None), "patch_size") else None


def in_columns(model: nn.Module) -> bool:
    """Whether each patch has a token of one width from the stem to the pooling."""
    maps = getattr(model, "feature_info", None)
    if stem(model) is None or not hasattr(model, "blocks") or not isinstance(maps, list) or not maps:
        return False
    return {(each["reduction"], each["num_chs"]) for each in maps} == {
        (maps[0]["reduction"], getattr(model, "num_features", None))
    }


def patch_sides(model: nn.Module) -> Sides | None:
    """Height and width in pixels of a patch that has a token; None without :func:`in_columns`."""
    if not in_columns(model):
        return None
    embed = getattr(model, "embeds", None) or stem(model)
    found = embed.feat_ratio(as_scalar=False) if hasattr(embed, "feat_ratio") else embed.patch_size
    return sides(found)


def cell_sides(model: nn.Module) -> Sides | None:
    """Height and width in pixels of a place of the last map, where the first one is of patches; else None."""
    if patch := patch_sides(model):
        return patch
    if stem(model) is None or not hasattr(model, "forward_intermediates"):
        return None
    return sides(int(model.feature_info[-1]["reduction"]))  # type: ignore[union-attr, index]


def sees_beyond(model: nn.Module) -> bool:
    """Whether a token's stem sees more than its own patch, as convolutions do that overlap."""
    first = stem(model)
    proj = getattr(first, "proj", first)
    layers = proj if isinstance(proj, nn.Sequential) else [proj]
    return hasattr(first, "backbone") or not all(map(_of_one_patch, layers))


def _of_one_patch(layer: nn.Module) -> bool:
    """Whether a layer of a stem mixes no patches: convolutions side by side, and what is done to a place."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == layer.stride and layer.padding in (0, (0, 0), "valid")
    return isinstance(layer, nn.Linear | nn.LayerNorm | nn.GELU | nn.ReLU | nn.Identity)


def stem_width(model: nn.Module) -> int:
    """Width of the stem's output for a patch: that of its last layer."""
    layers = [each for each in stem(model).modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    return layers[-1].out_channels if isinstance(layers[-1], nn.Conv2d) else layers[-1].out_features


def lacks_tokens(model: nn.Module) -> str | None:
    """Why a model has no tokens of patches, as the end of a sentence about it; None if it has some."""
    if stem(model) is None:
        return "has no patch tokens that a layer `patch_embed` makes"
    if len({each["reduction"] for each in getattr(model, "feature_info", None) or ()}) > 1:
        return "merges its patches on the way, and has no tokens of single ones"
    if not in_columns(model):
        return "does not pass tokens of one width through blocks of its own to its features"
    height, width = patch_sides(model) or (0, 0)
    return None if height == width else f"has patches of {height} x {width} px, and only square ones are read"
