"""The site builds without a warning and asks nothing of the network; what its pages name exists."""

import ast
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selfsup.commands import _BARE, COMMANDS, config_name, help
from selfsup.config import load_config, options

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMAND = re.compile(rf"(?:^|`)(selfsup (?:{'|'.join(COMMANDS)})\b[^`\n]*)", re.M)
TEXTS = [re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")) for page in PAGES]
TYPED = sorted({typed.partition("#")[0].strip() for text in TEXTS for typed in COMMAND.findall(text)})
TYPED += [example for examples in help._EXAMPLES.values() for example in examples]


class Fetched(HTMLParser):
    """What a browser would fetch to show a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "script", "source", "iframe") and given.get("src"):
            self.addresses.append(str(given["src"]))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.addresses.append(str(given["href"]))


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    start = (tmp_path / "index.html").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in start, f"no way to {page.name}"
    built = list(tmp_path.rglob("*.html"))
    assert len(built) > len(PAGES)
    for page in built:
        assert [a for a in Fetched(page.read_text()).addresses if re.match(r"(https?:)?//", a)] == []
    api = (tmp_path / "api.html").read_text()
    assert "masked_reconstruction" in api
    assert "&gt;&gt;&gt;" in api


ELSEWHERE = r"\.\.\.|--help|experiment=\S+\.yaml"  # what stands for more, and files that a reader has


@pytest.mark.parametrize("command", [typed for typed in TYPED if not re.search(ELSEWHERE, typed)])
def test_a_command_on_a_page_can_be_typed(command: str) -> None:
    _, name, *given = shlex.split(command)
    # A choice in capitals stands for any.
    settings = [each for each in given if re.match(r"(?!resume|from)([\w.]+\.\w+=|\w+=(?![A-Z]+$))", each)]
    if name in ("train", "views", "tune"):
        load_config(config_name(name), settings)
    elif not any(setting.startswith("encoder=") for setting in settings) and name not in _BARE:
        load_config(name, ["encoder=x", *settings])
    else:
        load_config(name, settings)


def test_troubleshooting_quotes_what_is_printed() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    seen = [row.split(" | ")[0] for row in re.findall(r"^\| (.*) \|$", page, re.M)]
    quoted = [
        part.strip() for cell in seen for text in re.findall('"(.+?)"', cell) for part in text.split("…")
    ]
    assert len(quoted) > 20
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "selfsup").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    printed = " ".join(str(node.value) for node in nodes if isinstance(node.value, str))
    assert [part for part in quoted if part not in printed] == []


def test_settings_of_troubleshooting_are_settings() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    typed = set(re.findall(r"`((?:data|trainer|backbone|method|batch_size|compile)[\w.]*=[\w.]+)`", page))
    assert len(typed) > 15
    for setting in typed:
        load_config("train", ["data=folder", "data.root=x", setting])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(command: str) -> None:
    assert f"  selfsup {command} " in help.describe(command, [])


@pytest.mark.parametrize("method", options("method"))
def test_a_method_has_a_page_whose_knobs_are_settings(method: str) -> None:
    text = (ROOT / "docs" / "methods" / f"{method}.md").read_text(encoding="utf-8")
    for heading in ("When to choose it", "Its knobs", "Cost", "Failure signs"):
        assert f"## {heading}" in text
    config = load_config("train", [f"method={method}"])
    for knob in re.findall(r"^\| `([\w.*]+)`", text, re.M):
        place = config
        for part in knob.removesuffix(".*").split("."):
            assert part in place, f"no setting {knob}"
            place = place[part]
