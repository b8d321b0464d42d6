"""Scores that need no labels, and the protocols that are no more than one of them."""
