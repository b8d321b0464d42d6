"""One script for a GPU: whether every method is right on it, how fast it is, and how soon it learns."""
