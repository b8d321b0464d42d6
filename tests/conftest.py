"""Settings for all tests."""

import os
import tempfile

# Small tensors: a second thread costs more than it brings, and subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing here may ask a hub or a logging service.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
# Extracted features belong to the tests and go when they end.
_CACHE = tempfile.TemporaryDirectory(prefix="selfsup-features-")
os.environ["SELFSUP_CACHE"] = _CACHE.name
