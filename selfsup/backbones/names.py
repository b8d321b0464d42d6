"""The names timm can build, found without importing it (which takes seconds)."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError

_DEFINITION = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)


@cache
def timm_names() -> frozenset[str]:
    """Names of timm's architectures and of ours, read off the sources that define them."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise UsageError("timm is not installed; run 'pip install selfsup' again")
    folders = [Path(spec.origin).parent / "models", Path(__file__).parent]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py")]
    return frozenset(name for source in sources for name in _DEFINITION.findall(source))


def require_timm_name(name: str) -> None:
    """Raise a :class:`UsageError` with near misses unless timm can build ``name`` (a tag may follow a dot).

    Example:
        >>> require_timm_name("resnet18.a1_in1k")
    """
    base = name.partition(".")[0]
    if base not in timm_names():
        near = difflib.get_close_matches(base, timm_names(), n=2)
        hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        raise UsageError(f"neither a backbone of configs/backbone nor a timm model is called '{base}'{hint}")


def backbone_name(backbone: Mapping[str, Any]) -> str:
    """What a person called the backbone: ``vit_mini``, which timm knows as a ``vit_tiny_patch16_224``."""
    return str(backbone.get("called") or backbone["name"])
