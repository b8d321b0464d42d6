"""The encoder: a timm model that gives pooled features, and patch tokens where it has them.

Saved, it is a directory that timm reads without this package::

    encoder/config.json         timm's architecture, arguments and preprocessing
    encoder/model.safetensors   timm's own parameter names
    encoder/card.json           its origin: method, data, settings, features of a fixed input
    encoder/README.md           the same for people and the Hugging Face Hub

Example:
    >>> from selfsup.encoder import build_encoder
    >>> encoder = build_encoder("resnet18", image_size=32)
    >>> import torch
    >>> encoder(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 512])
"""

from typing import TYPE_CHECKING

from selfsup.lazy import exports

if TYPE_CHECKING:
    from selfsup.encoder.card_text import model_card, write_model_card
    from selfsup.encoder.folder import add_to_card, check_saveable, load_encoder, save_encoder
    from selfsup.encoder.lora import add_adapters
    from selfsup.encoder.model import Encoder, build_encoder, take
    from selfsup.encoder.positions import fix_positions, sincos_positions
    from selfsup.encoder.start import load_published, start_from
    from selfsup.encoder.statistics import IMAGENET_MEAN, IMAGENET_STD
else:  # the files of an encoder are checked before torch is imported
    __getattr__ = exports(
        __name__,
        {
            "folder": ["add_to_card", "check_saveable", "load_encoder", "save_encoder"],
            "lora": ["add_adapters"],
            "model": ["Encoder", "build_encoder", "take"],
            "statistics": ["IMAGENET_MEAN", "IMAGENET_STD"],
            "card_text": ["model_card", "write_model_card"],
            "positions": ["fix_positions", "sincos_positions"],
            "start": ["load_published", "start_from"],
        },
    )

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Encoder",
    "add_adapters",
    "add_to_card",
    "build_encoder",
    "check_saveable",
    "fix_positions",
    "load_encoder",
    "load_published",
    "model_card",
    "save_encoder",
    "sincos_positions",
    "start_from",
    "take",
    "write_model_card",
]
