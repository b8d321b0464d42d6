"""A new method is one Python file and one YAML: everything else finds it by itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHOD = '''
"""Toy: the features of two views come to be the same, which is no way to learn."""

from typing import Any

from torch import nn

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import Bound, Failure
from selfsup.methods.requirements import require_views


class Toy(Method):
    """A linear projector and a squared distance."""

    failures = (Failure("toy trouble", (Bound("update", above=-1.0),), "a toy since {since}", "play on"),)

    def __init__(self, *, width: int, **common: Any) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "toy", "simclr")
        self.projector = nn.Linear(self.encoder.dim, width)

    def loss(self, batch: Batch) -> Output:
        features = [self.encoder(view) for view in batch.views]
        one, other = (self.projector(each).float() for each in features[:2])
        return Output((one - other).square().mean(), features)
'''
SETTINGS = """
# Toy: two views of an image come to be the same
defaults: [common/method@_here_, {/optimizer@optimizer: adamw}, {/views@_global_.views: simclr}, _self_]
_target_: selfsup.methods.toy.Toy
name: toy
width: 8
ranges:
  width: "[1, 4096]"
"""
RUN = (
    "out=runs",
    "name=run",
    "trainer.accelerator=cpu",
    "trainer.max_steps=4",
    "batch_size=32",
    "guard.every=2",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one more method in it."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("selfsup", "configs", "benchmarks", "tests", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, root / name)
    (root / "selfsup" / "methods" / "toy.py").write_text(METHOD.lstrip())
    (root / "configs" / "method" / "toy.yaml").write_text(SETTINGS.lstrip())
    return root


def python(root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed(copy: Path) -> None:
    listed = " ".join(python(copy, "-m", "selfsup.commands", "train", "--help").split())
    assert "toy Toy: two views of an image come to be the same" in listed
    assert "toy Toy" in python(
        copy, "-c", "from benchmarks.rows import METHODS; print('toy', METHODS['toy'])"
    )


def test_the_tester_finds_it_and_is_content(copy: Path) -> None:
    selected = ("-k", "toy and not processes", "-p", "no:cacheprovider", "-q", "-o", "addopts=")
    assert " passed" in python(copy, "-m", "pytest", "tests/methods/test_tester.py", *selected)


def test_a_run_trains_watches_judges_and_reports_it(copy: Path) -> None:
    said = python(copy, "-m", "selfsup.commands", "train", "method=toy", *RUN, "evaluate=false")
    assert "a toy since" in said
    folder = copy / "runs" / "run"
    assert "toy trouble" in (folder / "warnings.csv").read_text()
    assert (folder / "encoder" / "config.json").is_file()
    report = (folder / "report.html").read_text()
    assert "toy" in report
    assert "a toy since" in report
