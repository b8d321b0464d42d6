"""The encoder: a timm model that gives pooled features, and patch tokens where it has them.

Saved, it is a directory that timm reads without this package::

    encoder/config.json         timm's architecture, arguments and preprocessing
    encoder/model.safetensors   timm's own parameter names
    encoder/card.json           where it comes from: method, data, settings, features of a fixed input

Example:
    >>> from selfsup.encoder import build_encoder
    >>> encoder = build_encoder("resnet18", image_size=32)
    >>> import torch
    >>> encoder(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 512])
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfsup.backbones import small_stem  # noqa: F401  (registers its models with timm)
from selfsup.backbones.names import require_timm_name
from selfsup.errors import UsageError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """A timm model with its input's statistics and the recipe it was built from.

    ``encoder(images)`` maps normalised images ``(N, 3, H, W)`` to pooled features ``(N, D)``;
    ``encoder.tokens(images)`` gives patch tokens ``(N, L, D)`` in row-major order.

    Attributes:
        model: the timm model, without a classifier.
        recipe: the arguments of :func:`build_encoder` that rebuild it untrained.
        mean, std: of the RGB values in [0, 1] that the images are normalised with.
        card: what ``card.json`` says; empty for an encoder that was not loaded from a directory.
    """

    def __init__(
        self, model: nn.Module, recipe: dict[str, Any], mean: Iterable[float], std: Iterable[float]
    ) -> None:
        super().__init__()
        self.model: Any = model  # timm's models have more than torch's type of them says
        self.recipe = recipe
        self.mean, self.std = tuple(mean), tuple(std)
        self.card: dict[str, Any] = {}

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self.model.num_features)

    @property
    def input_size(self) -> int:
        """Pixels a side of the images the encoder is meant for."""
        return int(self.recipe["image_size"])

    @property
    def has_tokens(self) -> bool:
        """Whether there are patch tokens, which can also be dropped before the first block."""
        return isinstance(self.model, VisionTransformer)

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches (class token, registers)."""
        return int(self.model.num_prefix_tokens) if self.has_tokens else 0

    @property
    def patch_size(self) -> int:
        """Pixels a side of a patch."""
        self.require_tokens()
        return int(self.model.patch_embed.patch_size[0])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at :attr:`input_size`."""
        return (self.input_size // self.patch_size,) * 2

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def sequence(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Prefix and patch tokens ``(N, P + L, D)``, after the last norm.

        Args:
            images: normalised, ``(N, 3, H, W)``.
            keep: indices ``(N, K)`` of the patches to encode. The others are dropped after the
                position embedding, so that the blocks compute K tokens instead of L.
        """
        self.require_tokens()
        vit = self.model
        tokens = vit._pos_embed(vit.patch_embed(images))
        if keep is not None:
            prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
            tokens = torch.cat([prefix, take(patches, keep)], dim=1)
        return vit.norm(vit.blocks(vit.norm_pre(tokens)))

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Patch tokens ``(N, L, D)``, or ``(N, K, D)`` of the patches in ``keep`` ``(N, K)``."""
        return self.sequence(images, keep)[:, self.prefix :]

    def untrained(self, seed: int = 0) -> "Encoder":
        """The same architecture and initialisation with fresh random weights."""
        return build_encoder(**self.recipe, mean=self.mean, std=self.std, seed=seed)

    def fingerprint(self) -> str:
        """Identity of the encoder: a hash of its weights, by name, and of its input's statistics."""
        digest = hashlib.sha256(repr((self.input_size, self.mean, self.std)).encode())
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def probe(self) -> list[float]:
        """The first eight features of a fixed input, by which a reader can check that loading worked."""
        was_training, weight = self.training, next(self.parameters())
        wave = torch.arange(3 * self.input_size**2, dtype=torch.float64).sin().to(weight)
        features = self.eval()(wave.view(1, 3, self.input_size, self.input_size))
        self.train(was_training)
        return features[0, :8].float().tolist()

    def require_tokens(self) -> None:
        """Raise a UsageError, naming backbones that work, unless there are patch tokens."""
        if not self.has_tokens:
            raise UsageError(
                f"backbone '{self.recipe['name']}' has no patch tokens; "
                "take a vision transformer, such as backbone=vit_tiny or backbone=vit_small"
            )


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens ``(N, K, D)`` of ``tokens`` ``(N, L, D)`` at ``index`` ``(N, K)``."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def build_encoder(
    name: str,
    image_size: int,
    model_args: dict[str, Any] | None = None,
    positions: str = "learned",
    mean: Iterable[float] = IMAGENET_MEAN,
    std: Iterable[float] = IMAGENET_STD,
    pretrained: bool = False,
    seed: int | None = None,
) -> Encoder:
    """A timm model as an encoder.

    Args:
        name: any name timm knows, among them the small-image stems this package registers.
        image_size: pixels a side of the images.
        model_args: arguments of the timm model, of plain JSON types.
        positions: ``"learned"``, or ``"sincos"`` for fixed two-dimensional sine-cosine position
            embeddings (of a vision transformer).
        pretrained: start from timm's published weights.
        seed: of the random weights; the global generator is left as it was.

    Raises:
        UsageError: unknown name, arguments the architecture does not take, image size that the
            patches do not divide.
    """
    require_timm_name(name)
    _require_tag(name)
    args = {key: value for key, value in (model_args or {}).items() if value is not None}
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = _create(name, image_size, args, pretrained)
    if positions == "sincos" and isinstance(model, VisionTransformer):
        fix_positions(model)
    recipe = {"name": name, "image_size": image_size, "model_args": args, "positions": positions}
    return Encoder(model, recipe, mean, std)


def _require_tag(name: str) -> None:
    base, _, tag = name.partition(".")
    known = timm.list_models(f"{base}.*", pretrained=True) if tag else []
    if tag and name not in known:
        raise UsageError(f"timm has no weights '{name}'; there are {', '.join(known) or 'none of ' + base}")


def _create(name: str, image_size: int, args: dict[str, Any], pretrained: bool) -> nn.Module:
    # Only architectures of a fixed grid want to be told the size.
    sized: dict[str, Any] = (
        {"img_size": image_size} if timm.get_pretrained_cfg_value(name, "fixed_input_size") else {}
    )
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, **sized, **args)
    except OSError as error:
        raise UsageError(f"no pretrained weights for '{name}' could be fetched: {error}") from error
    except (TypeError, ValueError, AssertionError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise UsageError(f"timm's '{name}' cannot be built with {args}: {error}") from error
    # timm would not look at the rows and columns that are left over.
    if isinstance(model, VisionTransformer) and any(
        image_size % side for side in model.patch_embed.patch_size
    ):
        patch = model.patch_embed.patch_size[0]
        raise UsageError(
            f"patches of {patch} px do not tile images of {image_size} px; "
            "set backbone.model_args.patch_size or data.image_size"
        )
    return model


@torch.no_grad()
def fix_positions(vit: VisionTransformer) -> None:
    """Replace learned positions by fixed ones; zeros for prefix tokens."""
    grid, dim = vit.patch_embed.grid_size, vit.embed_dim
    table = sincos_positions(grid, dim)
    assert vit.pos_embed is not None
    vit.pos_embed.zero_()
    vit.pos_embed[0, vit.pos_embed.shape[1] - len(table) :] = table
    vit.pos_embed.requires_grad_(False)


def sincos_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """Fixed position embeddings ``(H * W, dim)`` of MAE (He et al. 2021, arXiv:2111.06377).

    The first half of the width encodes the column, the second the row; each is sines, then
    cosines, of ``position / 10000 ** (i / (dim / 4))``.

    Example:
        >>> sincos_positions((4, 4), 8)[1, :3]
        tensor([0.8415, 0.0100, 0.5403])
    """
    if dim % 4:
        raise UsageError(f"sine-cosine positions need a width divisible by 4, not {dim}")
    frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64), torch.arange(grid[1], dtype=torch.float64), indexing="ij"
    )
    angles = [axis.reshape(-1, 1) * frequency for axis in (columns, rows)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def save_encoder(encoder: Encoder, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write the encoder's directory; an existing one is never overwritten.

    Raises:
        UsageError: the folder exists and is not empty, or is a file.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"'{folder}' is taken; name another folder for the encoder")
    folder.mkdir(parents=True, exist_ok=True)
    recipe, model = encoder.recipe, encoder.model
    args = dict(recipe["model_args"])
    if timm.get_pretrained_cfg_value(recipe["name"], "fixed_input_size"):
        args["img_size"] = recipe["image_size"]
    size = [3, recipe["image_size"], recipe["image_size"]]
    pretrained_cfg = {
        **{key: (model.pretrained_cfg or {}).get(key) for key in ("first_conv", "classifier")},
        "input_size": size,
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "num_classes": 0,
    }
    config = {
        "architecture": recipe["name"],
        "num_classes": 0,
        "num_features": encoder.dim,
        "model_args": args,
        "pretrained_cfg": pretrained_cfg,
    }
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "card.json",
        {
            **(card or {}),
            "recipe": recipe,
            "fingerprint": encoder.fingerprint(),
            "features_of_fixed_input": encoder.probe(),
        },
    )
    return folder


def add_to_card(folder: str | Path, content: dict[str, Any]) -> None:
    """Write more into the ``card.json`` of an encoder's folder, such as its scores."""
    path = Path(folder) / "card.json"
    _write_json(path, {**_read_json(path), **content})


def load_encoder(path: str | Path) -> Encoder:
    """An encoder from its directory, or ``"timm:NAME"`` for a timm model.

    A timm name with a tag (``timm:resnet18.a1_in1k``) brings its published weights; a bare one
    (``timm:resnet18``) has random weights.

    Raises:
        UsageError: the folder or a file is missing, damaged, or belongs to another architecture.

    Example:
        >>> load_encoder("timm:resnet18").dim
        512
    """
    if str(path).startswith("timm:"):
        return _timm_encoder(str(path).removeprefix("timm:"))
    folder = Path(path)
    config, card = _read_json(folder / "config.json"), _read_json(folder / "card.json", required=False)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UsageError(f"'{folder}' holds no model.safetensors; copy the encoder's whole folder")
    try:
        architecture, pretrained_cfg = str(config["architecture"]), config["pretrained_cfg"]
        size = int(pretrained_cfg["input_size"][-1])
        args = {key: value for key, value in config.get("model_args", {}).items() if key != "img_size"}
        mean, std = pretrained_cfg["mean"], pretrained_cfg["std"]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(f"'{folder / 'config.json'}' is no encoder's configuration: no {error}") from error
    positions = card.get("recipe", {}).get("positions", "learned")
    encoder = build_encoder(architecture, size, args, positions, mean, std)
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"'{weights}' is damaged ({error}); copy it again") from error
    _load_strictly(encoder.model, state, folder)
    encoder.card = card
    return encoder


def _load_strictly(model: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys()) + [
        key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape
    ]
    if wrong:
        raise UsageError(
            f"the weights in '{folder}' are of another architecture than its config.json: "
            f"{len(wrong)} tensors differ, '{wrong[0]}' among them"
        )
    model.load_state_dict(state)


def _timm_encoder(name: str) -> Encoder:
    base, _, tag = name.partition(".")
    require_timm_name(base)
    _require_tag(name)
    published = timm.get_pretrained_cfg(name, allow_unregistered=True) if tag else None
    cfg = published or timm.get_pretrained_cfg(base)
    size = cfg.input_size[-1] if cfg else 224
    mean, std = (cfg.mean, cfg.std) if cfg else (IMAGENET_MEAN, IMAGENET_STD)
    encoder = build_encoder(base, size, mean=mean, std=std)
    if tag:
        encoder.model = build_encoder(name, size, pretrained=True).model
    return encoder


def _read_json(path: Path, required: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if required:
            where = "no such folder" if not path.parent.is_dir() else f"no {path.name} in it"
            raise UsageError(
                f"'{path.parent}' is no encoder: {where}; a run leaves one in runs/<name>/encoder"
            )
        return {}
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is damaged ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is damaged (no JSON object); copy it again")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
