"""Backbones that timm does not have. Importing this registers them with timm."""

from selfsup.backbones import small_stem

__all__ = ["small_stem"]
