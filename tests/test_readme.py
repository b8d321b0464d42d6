"""The commands in README work, its links lead somewhere, and a run leaves the files that docs/runs.md
lists."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsup.commands import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
# Lines of code are fenced or indented; a backslash continues one.
BLOCKS = re.findall(r"^```\w*\n(.*?)^```|^ {4}(\S.*?)$", re.sub(r"\\\n\s*", "", TEXT), re.S | re.M)
LINES = [line.strip().removeprefix("$ ") for block in BLOCKS for line in "".join(block).splitlines()]
SET_UP = "pip install uv && "
FROM_NOTHING = [line.removeprefix(SET_UP) for line in LINES if line.startswith(SET_UP)]
LAUNCHED = [line for line in LINES if re.search(r"python -m ssl\.\w+|(^|\s)selfsup \w+", line)]


def test_two_commands_set_everything_up() -> None:
    train, test = FROM_NOTHING
    assert train.startswith("uv run python -m ssl.train method=")
    assert test == "uv run pytest -n auto"
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == test


@pytest.mark.parametrize("command", LAUNCHED)
def test_a_command_names_what_exists(command: str) -> None:
    for name in re.findall(r"(?:ssl\.|\bselfsup )(\w+)", command):
        assert (ROOT / "ssl" / f"{name}.py").is_file(), f"no command {name}"
    # A backbone may also be any timm model's name.
    for group, name in re.findall(r"(?<=[\s+])(method|data|logger|experiment|views)=([\w/]+)", command):
        assert (ROOT / "configs" / group / f"{name}.yaml").is_file(), f"no {group} {name}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", TEXT))))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_what_a_run_leaves_is_listed_and_what_is_listed_is_left(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", page, re.S | re.M)
    block = next(block for block in blocks if block.startswith("runs/<name>/"))
    rows = [line.removeprefix("runs/<name>/").split(maxsplit=1) for line in block.splitlines()]
    listed = {name.rstrip("/"): about for name, about in rows}
    small = [f"backbone.model_args.{each}" for each in ("depth=1", "embed_dim=24", "num_heads=2")]
    settings = [*small, "trainer.max_steps=2", "online.every_steps=2", "online.bank=60", "online.queries=30"]
    assert main(["train", f"out={tmp_path}", "name=one", *settings]) == 0
    left = {path.name for path in (tmp_path / "one").iterdir()}
    assert left - set(listed) == set()
    assert set(listed) - left == {
        name for name, about in listed.items() if re.search(r", if (it|there) ", about)
    }
    in_encoder = re.findall(r"[\w.]+\.\w+", listed["encoder"])
    assert {path.name for path in (tmp_path / "one" / "encoder").iterdir()} == set(in_encoder)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkout's own files, without anything that was built or installed there."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder / ".venv", ignore_errors=True)  # gigabytes, and pytest keeps its folders


def test_a_clean_clone_needs_nothing_else(clone: Path) -> None:
    settings = ("VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    # The packages come from uv's cache, which the installation of this environment has filled.
    environment |= {"UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    for command in FROM_NOTHING:  # in one clone, as its environment takes a minute to make
        more = "trainer.max_steps=3" if "ssl.train" in command else "--collect-only tests/optim"
        result = subprocess.run(
            f"{command} {more}",
            shell=True,
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        if result.returncode and re.search(
            r"network\s+(was|connectivity\s+is)\s+disabled", result.stderr, re.I
        ):
            pytest.skip("uv's cache does not hold the dependencies")
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert (clone / "runs" / "latest" / "encoder" / "model.safetensors").is_file()
