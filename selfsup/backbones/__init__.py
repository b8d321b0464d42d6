"""Backbones that timm does not have. Importing this registers them with timm."""

from selfsup.backbones import norms, small_stem

__all__ = ["norms", "small_stem"]
