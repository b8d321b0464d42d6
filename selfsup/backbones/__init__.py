"""Backbones that timm does not have, and the names of those it has.

``small_stem`` registers its models with timm when it is imported; ``names`` needs no timm at all.
"""
