"""Robustness: kills, faults, collapse, and changes that break an objective."""
