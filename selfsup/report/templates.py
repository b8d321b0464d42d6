"""Pages from templates: one self-contained HTML file each."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from selfsup import __version__

PAGE = Path(__file__).parent / "page"


def rendered(template: str, **content: Any) -> str:
    """A page of ``page/``, with the style of all and the version.

    Args:
        content: escaped where it is not marked as safe; a name that is missing is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(version=__version__, style=style, **content)
