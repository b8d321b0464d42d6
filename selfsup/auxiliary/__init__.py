"""Losses beside a method's own, on the features it computes anyway: ``auxiliary=[koleo]``.

One file each, with a class that takes ``dim``, the features' width, and its settings.
"""
