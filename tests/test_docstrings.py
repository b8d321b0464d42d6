"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import selfsup

ROOT = Path(selfsup.__path__[0])
MODULES = [
    ".".join(["selfsup", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_there_are_examples() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
