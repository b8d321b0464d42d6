"""How fast: views, objectives, steps, evaluation, beside named peers on the same machine."""
