"""Backbones that timm does not have. Importing this registers them with timm."""

from selfsup.backbones import mlp_stem, norms, small_stem

__all__ = ["mlp_stem", "norms", "small_stem"]
