"""Libraries for some formats, which are imported by the reader that needs them, and may be missing."""

import importlib
from importlib.util import find_spec
from typing import Any

# What a format needs, by the package's name: the extra that brings it.
EXTRAS = {"tifffile": "pictures", "imagecodecs": "pictures", "pydicom": "pictures", "pillow_heif": "heic"}


def remedy(package: str) -> str:
    """What to type to have it.

    >>> remedy("pydicom")
    "pip install 'selfsup[pictures]'"
    """
    return f"pip install 'selfsup[{EXTRAS[package]}]'"


def installed(package: str) -> bool:
    """Whether it can be imported."""
    return find_spec(package) is not None


def library(package: str, what: str) -> Any:
    """The package, imported.

    Args:
        what: needs it, for the error's sentence.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(f"{what} needs one more package: {remedy(package)}") from error
