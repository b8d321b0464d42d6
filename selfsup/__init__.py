"""Learn image representations without labels, judge them, and use them elsewhere.

    import selfsup
    encoder = selfsup.load_encoder("runs/latest/encoder")

Nothing heavy is imported until it is used: torch takes seconds, and a wrong command line
should be reported before.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Encoder": "selfsup.encoder",
    "build_encoder": "selfsup.encoder",
    "load_encoder": "selfsup.encoder",
    "save_encoder": "selfsup.encoder",
    "UsageError": "selfsup.errors",
}
__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'selfsup' has no attribute '{name}'")
