"""Every file that the page on the architecture names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:selfsup|configs)/[\w./-]*)`", PAGE)))


def test_the_page_names_a_path_for_every_stage() -> None:
    folders = {path.split("/")[1] for path in PATHS if path.startswith("selfsup/")}
    assert folders >= {"commands", "run", "data", "views", "methods", "encoder", "objectives", "evaluation"}
    assert len(PATHS) > 40


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()
