"""Small methods and batches for tests, made as a run makes them."""

from copy import deepcopy
from functools import cache
from typing import Any

import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.methods.failures import Failure, failures_of

SMALL = ("backbone.model_args.depth=2", "backbone.model_args.embed_dim=32", "backbone.model_args.num_heads=2")
OF_TRANSFORMERS = tuple(
    f"backbone.model_args.{key}=" for key in ("depth", "embed_dim", "num_heads", "patch_size")
)


def build(*overrides: str) -> Method:
    """A method of a small vision transformer, or of the backbone that is asked for."""
    small = () if any(each.startswith("backbone=") for each in overrides) else SMALL
    config = composed(*fitting(*small, *overrides))
    return make_method(config, make_encoder(config), devices=1)


def fitting(*settings: str) -> list[str]:
    """Settings without a vision transformer's, where the method's own backbone is a convolutional network."""
    others = [each for each in settings if not each.startswith(OF_TRANSFORMERS)]
    return list(settings) if "depth" in composed(*others)["backbone"]["model_args"] else others


def composed(*settings: str) -> dict[str, Any]:
    """The configuration of a training run; tests ask for the same ones again and again."""
    return deepcopy(_composed(settings))


@cache
def _composed(settings: tuple[str, ...]) -> dict[str, Any]:
    return load_config("train", settings)


def images(n: int = 8, side: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def batch_of(method: Method, n: int = 8, step: int = 0, steps: int = 100, **more: Any) -> Batch:
    """A batch of noise, of which ``more`` may be the images or the labels."""
    raw = {"image": images(n), "index": torch.arange(n), "epoch": 0, "label": torch.arange(n) % 3, **more}
    return method.batch(raw, step, steps)


@cache
def failures(name: str) -> tuple[Failure, ...]:
    """What the guard watches a method for."""
    return failures_of(build(f"method={name}").failures)
