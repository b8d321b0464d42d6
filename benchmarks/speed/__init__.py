"""Speed: views, objectives, steps, evaluation, next to named peers on the same machine."""
