"""Speed, quality and robustness against peers; results in ``results/``, one line of JSON a row."""
