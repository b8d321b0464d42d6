"""Settings for all tests."""

import os

# Small tensors: a second thread costs more than it brings, and subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing here may ask a hub or a logging service.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
