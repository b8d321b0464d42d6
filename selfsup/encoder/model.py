"""Encoders: timm models with their input's statistics and the recipe they were built from."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfsup.backbones import mlp_stem, norms, small_stem  # noqa: F401  (register their models with timm)
from selfsup.backbones.masked import feature_maps
from selfsup.encoder.abilities import cell_sides, in_columns, lacks_tokens, stem_width
from selfsup.encoder.blocks import TRANSFORMERS, layers, passed
from selfsup.encoder.creation import NO_PASS, create, named_now, ways_to_take
from selfsup.encoder.positions import fix_positions
from selfsup.encoder.resizing import Resizing
from selfsup.encoder.state import plain_state
from selfsup.encoder.statistics import usual_statistics
from selfsup.encoder.values import Ranges
from selfsup.errors import UsageError
from selfsup.sides import compact, in_words, sides


class Encoder(nn.Module):
    """A timm model with its input's statistics and the recipe it was built from.

    ``encoder(images)`` maps normalised images ``(N, C, H, W)`` to pooled features ``(N, D)``;
    ``encoder.tokens(images)`` gives patch tokens ``(N, L, D)`` in row-major order.

    Attributes:
        model: the timm model, without a classifier.
        recipe: the arguments of :func:`build_encoder` that rebuild it untrained.
        mean: of each channel's values in [0, 1], which the images are normalised with.
        std: their standard deviations.
        resizing: the preprocessing of an encoder trained elsewhere; None for one of ours.
        range: the stored values of images, or of each channel, that became black and white, None for those of
            their type.
        card: the content of ``card.json``; empty for an encoder that was not loaded from a directory.
        compiled: whether :meth:`compile_training` was called.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: dict[str, Any],
        mean: Iterable[float],
        std: Iterable[float],
        range: Ranges | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model  # timm's models have more than torch's type of them says
        self.recipe = recipe
        self.mean, self.std = tuple(mean), tuple(std)
        self.range: Any = range
        self.resizing: Resizing | None = None
        self.card: dict[str, Any] = {}
        self.compiled = False

    @property
    def dim(self) -> int:
        """Width D of the features."""
        # Some networks (MobileNetV3) widen the pooled features once more before the classifier.
        return int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)

    @property
    def channels(self) -> int:
        """Channels C of the encoder's images."""
        return int(self.recipe.get("channels", 3))

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the encoder's images, in pixels."""
        return sides(self.recipe["image_size"])

    @property
    def has_tokens(self) -> bool:
        """Whether every patch has a token of one width, from the first block to the last."""
        return in_columns(self.model) and lacks_tokens(self.model) is None

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches (class token, registers)."""
        return int(getattr(self.model, "num_prefix_tokens", 0)) if self.has_tokens else 0

    @property
    def patch_size(self) -> int:
        """Pixels a side of a patch; where patches are merged on the way, of a place of the last map."""
        found = cell_sides(self.model)
        if found is None or found[0] != found[1]:
            self.require_tokens()
        assert found is not None
        return found[0]

    @property
    def patch_width(self) -> int:
        """Width of a patch's embedding, before the first block."""
        return stem_width(self.model)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at :attr:`input_size`."""
        return self.grid_of(self.input_size)

    def grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches of images of a height and width in pixels."""
        patch = self.patch_size
        return size[0] // patch, size[1] // patch

    def forward(self, images: Tensor) -> Tensor:
        return self._passed(self.model, images)

    def sequence(
        self,
        images: Tensor,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        token: Tensor | None = None,
    ) -> Tensor:
        """Prefix and patch tokens ``(N, P + L, D)``, after the last norm.

        A network that merges its patches gives the places of its last map ``(N, L, D)``, hidden by ``mask``.

        Args:
            images: normalised, ``(N, C, H, W)``.
            keep: indices ``(N, K)`` of the patches to encode. The others are dropped after the
                position embedding, so that the blocks compute K tokens instead of L.
            mask: ``(N, L)``, True where ``token`` stands for the patch.
            token: ``(patch_width,)``, in the place of a patch's embedding, before the position is added.
        """
        return passed(self.model, images, self.grid_of(images.shape[-2:]), keep, mask, token, self._passed)

    def layers(self, images: Tensor, attends: Tensor | None = None) -> list[Tensor]:
        """What each block says of all tokens ``(N, P + L, D)``, the last one after the last norm.

        Args:
            images: normalised, ``(N, C, H, W)``.
            attends: ``(N, P + L, P + L)`` bool, True where the token of a row attends to that of a column;
                None where all attend to all.
        """
        self.require_tokens()
        return layers(self.model, images, self.grid_of(images.shape[-2:]), attends)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Patch tokens ``(N, L, D)``, or ``(N, K, D)`` of the patches in ``keep`` ``(N, K)``."""
        return self.sequence(images, keep)[:, self.prefix :]

    def pool(self, sequence: Tensor) -> Tensor:
        """Pooled features ``(N, D)`` of a :meth:`sequence` ``(N, P + K, D)`` of any patches."""
        return self.model.forward_head(sequence, pre_logits=True)

    def maps(self, images: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Maps ``(N, D, h, w)`` of a convolutional network's stages, from large to small, before pooling.

        Args:
            images: normalised, ``(N, C, H, W)``.
            visible: the cells to see ``(N, rows, columns)`` bool, each as large as a place of the last map.
                All others are left out of every operation (:class:`~selfsup.backbones.masked.Masked`), and
                are 0 in the maps.
        """
        return feature_maps(self.model, images, visible)

    def compile_training(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Speed up the passes of training mode by :func:`torch.compile`.

        A vision transformer is compiled block by block, any other model as a whole. The first pass of a shape
        takes tens of seconds; weights, their names and saved files stay the same. A copy of the encoder is
        not compiled.

        Args:
            backend: that of :func:`torch.compile`.
        """
        for part in self.model.blocks if isinstance(self.model, TRANSFORMERS) else [self.model]:
            part.compile(dynamic=False, backend=backend)
        self.compiled = True

    def checkpoint_training(self) -> None:
        """Recompute each block in the backward pass instead of keeping what it computed.

        Loss and gradients stay the same; blocks draw what they drop from the same random numbers again.
        Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.

        Raises:
            UsageError: it is no plain vision transformer, or its blocks have batch norms, whose running
                statistics a second pass would move again.

        >>> build_encoder("vit_tiny_patch16_224", 32).checkpoint_training()
        """
        blocks = self.model.blocks.modules() if isinstance(self.model, TRANSFORMERS) else None
        if blocks is None or any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in blocks):
            raise UsageError(
                "backbone.checkpointing=true computes blocks again, which backbone "
                f"'{self.recipe['name']}' does not allow; leave it out, or take a vision transformer, "
                "such as backbone=vit_tiny"
            )
        self.model.grad_checkpointing = True  # timm's switch; a stem is computed once

    def _passed(self, part: Callable[[Tensor], Any], x: Tensor) -> Any:
        """``part(x)``, by compiled code in training only."""
        if self.compiled and not self.training:  # batches of many sizes, each to be compiled first
            with torch.compiler.set_stance("force_eager"):
                return part(x)
        return part(x)

    def untrained(self, seed: int = 0) -> "Encoder":
        """The same architecture and initialisation with fresh random weights."""
        encoder = build_encoder(**self.recipe, mean=self.mean, std=self.std, seed=seed, range=self.range)
        encoder.resizing = self.resizing
        return encoder

    def fingerprint(self) -> str:
        """Identity of the encoder: a hash of its weights, by name, and of its preprocessing."""
        own = tuple(each for each in (self.resizing, self.range) if each is not None)
        digest = hashlib.sha256(repr((compact(self.input_size), self.mean, self.std, *own)).encode())
        for name, value in sorted(plain_state(self.model).items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def probe(self) -> list[float]:
        """The first eight features of a fixed input, to check that loading worked."""
        was_training, weight = self.training, next(self.parameters())
        shape = self.channels, *self.input_size
        wave = torch.arange(math.prod(shape), dtype=torch.float64).sin().to(weight)
        features = self.eval()(wave.view(1, *shape))
        self.train(was_training)
        return features[0, :8].float().tolist()

    @torch.no_grad()  # not inference mode: tensors that a model caches for a size are used in training later
    def require_size(self, size: int | Sequence[int], without: str = "") -> None:
        """Raise a UsageError unless images of ``size`` pixels give pooled features ``(N, D)``.

        The advice in the message has been tried.

        Args:
            size: pixels a side, or height and width.
            without: settings that remove the views of this size, if that is possible.
        """
        was_training, weight = self.training, next(self.parameters())
        name, size = self.recipe["name"], sides(size)
        try:
            shape = tuple(self.eval()(weight.new_zeros(1, self.channels, *size)).shape)
        except NO_PASS as error:
            ways = [*ways_to_take(size, self.recipe, without), "take a backbone for small images: vit_mini"]
            raise UsageError(
                f"backbone '{name}' cannot take views of {in_words(size)} "
                f"({str(error).partition(chr(10))[0]}); {', or '.join(ways)}, vit_tiny, resnet10, resnet18"
            ) from error
        finally:
            self.train(was_training)
        if shape != (1, self.dim):
            raise UsageError(
                f"backbone '{name}' gives features of shape {shape[1:]}, not pooled ones of width "
                f"{self.dim}; take another, such as vit_tiny or resnet18"
            )

    def require_tokens(self) -> None:
        """Raise a UsageError, naming backbones that work, unless there are patch tokens."""
        if reason := lacks_tokens(self.model):
            raise UsageError(
                f"backbone '{self.recipe['name']}' {reason}; take a vision transformer, such as "
                "backbone=vit_tiny or backbone=vit_small"
            )


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens ``(N, K, D)`` of ``tokens`` ``(N, L, D)`` at ``index`` ``(N, K)``."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def build_encoder(
    name: str,
    image_size: int | Sequence[int],
    model_args: dict[str, Any] | None = None,
    positions: str = "learned",
    mean: Iterable[float] | None = None,
    std: Iterable[float] | None = None,
    pretrained: bool = False,
    seed: int | None = None,
    range: Ranges | None = None,
    channels: int = 3,
) -> Encoder:
    """A timm model as an encoder.

    Args:
        name: any name timm knows, among them the small-image stems this package registers.
        image_size: pixels a side of the images, or their height and width.
        model_args: arguments of the timm model, of plain JSON types.
        positions: ``"learned"``, or ``"sincos"`` for fixed two-dimensional sine-cosine position
            embeddings (of a vision transformer).
        mean, std: of each channel's values in [0, 1]; by default :func:`usual_statistics`.
        pretrained: start from timm's published weights.
        seed: of the random weights; the global generator is left as it was.
        range: the stored values of images that become black and white, None for those of their type.
        channels: of the images, 1 to 16. Published weights of three are fitted to others by timm.

    Raises:
        UsageError: unknown name, arguments the architecture does not take, image size that the
            patches do not divide.

    >>> build_encoder("vit_tiny_patch16_224", [32, 64], {"patch_size": 8}, channels=4).grid
    (4, 8)
    """
    name = named_now(name)
    args = {key: value for key, value in (model_args or {}).items() if value is not None}
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = create(name, image_size, args, pretrained, channels=channels)
    if positions == "sincos" and isinstance(model, VisionTransformer):
        fix_positions(model)
    recipe = {"name": name, "image_size": compact(image_size), "model_args": args, "positions": positions}
    if channels != 3:
        recipe["channels"] = channels
    usual = usual_statistics(channels)
    return Encoder(model, recipe, usual[0] if mean is None else mean, usual[1] if std is None else std, range)
