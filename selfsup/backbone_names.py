"""The names timm can build, found without importing it (which takes seconds)."""

import ast
import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError

_DEFINITION = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)
_RENAMED = re.compile(r"^register_model_deprecations\(__name__,\s*(\{.*?^\})\)", re.MULTILINE | re.DOTALL)


@cache
def _sources() -> tuple[str, ...]:
    """The files that define timm's architectures and ours."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise UsageError("timm is not installed; run 'pip install selfsup' again")
    folders = [Path(spec.origin).parent / "models", Path(__file__).parent / "backbones"]
    return tuple(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py"))


@cache
def timm_names() -> frozenset[str]:
    """Names of timm's architectures and of ours, read off the sources that define them."""
    return frozenset(name for source in _sources() for name in _DEFINITION.findall(source))


@cache
def _renamed() -> dict[str, str | None]:
    """Names that timm has retired, and their replacements; None for a name without one."""
    tables = [table for source in _sources() for table in _RENAMED.findall(source)]
    return {old: new for table in tables for old, new in ast.literal_eval(table).items()}


def current_name(name: str) -> str:
    """The name, or timm's current name for it, which may have a tag.

    >>> current_name("tf_efficientnet_b0_ap"), current_name("resnet18")
    ('tf_efficientnet_b0.ap_in1k', 'resnet18')
    """
    base, _, tag = name.partition(".")
    now = _renamed().get(base)
    if now is None:
        return name
    return f"{now.partition('.')[0]}.{tag}" if tag else now


def require_timm_name(name: str) -> None:
    """Raise a :class:`UsageError` with near misses unless timm can build ``name`` (a tag may follow a dot).

    Example:
        >>> require_timm_name("resnet18.a1_in1k")
    """
    base = name.partition(".")[0]
    if base in timm_names() or _renamed().get(base):
        return
    if base in _renamed():
        raise UsageError(f"timm has removed '{base}' without a replacement; take another model")
    meant = without_prefix(name).partition(".")[0]
    near = difflib.get_close_matches(meant, timm_names(), n=2)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    raise UsageError(f"neither a backbone of configs/backbone nor a timm model is called '{base}'{hint}")


def without_prefix(name: str) -> str:
    """A model's name without its origin: the last part of ``hf-hub:timm/resnet18.a1_in1k``.

    >>> without_prefix("timm/resnet18.a1_in1k")
    'resnet18.a1_in1k'
    """
    return name.rpartition(":")[2].rpartition("/")[2]


def backbone_name(backbone: Mapping[str, Any]) -> str:
    """The user's name for the backbone: ``vit_mini``, which timm knows as a ``vit_tiny_patch16_224``."""
    return str(backbone.get("called") or backbone["name"])
