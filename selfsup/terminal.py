"""What is printed: through consoles that take no name for markup."""

from typing import Any

from rich.console import Console

from selfsup.text import shown


def make_console(**settings: Any) -> Console:
    """A Rich console that prints text as it is: ``[red]`` in a name is a name, ``:smile:`` too."""
    return Console(**{"markup": False, "emoji": False, "highlight": False, **settings})


def say(console: Console, text: str) -> None:
    """Print one line, unwrapped so that a path in it can be copied, with escapes for what moves a cursor."""
    console.print(shown(text), markup=False, emoji=False, highlight=False, soft_wrap=True)
