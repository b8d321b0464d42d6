"""Learn image representations without labels, judge them, and give the encoder to timm.

    import selfsup
    encoder = selfsup.load_encoder("runs/latest/encoder")

Nothing heavy is imported until it is used: torch takes seconds, and a wrong command line should be refused
before.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
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


class _RegisterWithTimm(MetaPathFinder, Loader):
    """Registers our backbones as soon as somebody imports timm.

    timm.create_model knows a name only after its module was imported, and importing timm here
    would make ``import selfsup`` cost what importing torch costs.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return spec
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self)
        assert module.__spec__ is not None
        module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        importlib.import_module("selfsup.backbones.small_stem")


if "timm" in sys.modules:
    importlib.import_module("selfsup.backbones.small_stem")
elif not any(isinstance(finder, _RegisterWithTimm) for finder in sys.meta_path):
    sys.meta_path.insert(0, _RegisterWithTimm())
