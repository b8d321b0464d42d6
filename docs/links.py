"""A hook of the site: links out of docs/ become links to nothing but their text.

In a checkout they lead to the file; a site has no such files.
"""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!\.\./)[^)]+\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs with each page's text."""
    return markdown if "/" in page.file.src_uri else _OUTSIDE.sub(r"`\1`", markdown)
