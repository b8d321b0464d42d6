"""Hooks of the site."""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+)[^)]+\)")


def on_config(config: Any) -> Any:
    """Name every page of docs/ in the navigation: those that mkdocs.yml does not are guides."""
    named = set(re.findall(r"[\w-]+\.md", str(config.nav)))
    guides = next(part["Guides"] for part in config.nav if "Guides" in part)
    guides += sorted(page.name for page in Path(config.docs_dir).glob("*.md") if page.name not in named)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links out of docs/ become their text: in a checkout they lead to a file, a site has none."""
    inside = page.file.src_uri.count("/")

    def text(link: re.Match[str]) -> str:
        up = link[2].count("../")
        return f"`{link[1].strip('`')}`" if up > inside else link[0]

    return _LINK.sub(text, markdown)
