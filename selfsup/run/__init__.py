"""A run: its folder, its trainer, and the order in which things happen."""
