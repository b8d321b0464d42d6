"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def exports(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package with light modules, which should not wait for torch, and heavy ones.

    The package imports the same names under ``TYPE_CHECKING``, for whoever reads types.

    Args:
        package: its ``__name__``.
        names: by module, relative to the package.

    >>> exports("selfsup", {"encoder.files": ["CARD"]})("CARD")
    'card.json'
    """
    homes = {name: f"{package}.{module}" for module, found in names.items() for name in found}

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(homes[name]), name)

    return getattr_
