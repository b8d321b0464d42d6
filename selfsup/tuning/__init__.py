"""Search over settings without labels: a space, a score, trials, and a journal that is the search's state."""
