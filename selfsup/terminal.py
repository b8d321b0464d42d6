"""Printing, through consoles that treat no name as markup."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from selfsup.text import shown


def make_console(**settings: Any) -> Console:
    """A Rich console that prints text as it is: ``[red]`` in a name is a name, ``:smile:`` too."""
    return Console(**{"markup": False, "emoji": False, "highlight": False, **settings})


def say(console: Console, text: str) -> None:
    """Print one line, unwrapped so that a path in it can be copied, with control characters escaped."""
    console.print(shown(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def typed(command: str, *arguments: str) -> str:
    """A selfsup command to type next: quoted for the shell, and beginning like the running one.

    After ``uv run python -m ssl.train …`` it is ``uv run python -m ssl.evaluate …``, not ``selfsup``, which
    may not be on the path.
    """
    return " ".join([_begun(command, sys.orig_argv, os.environ), *map(shlex.quote, arguments)])


def _begun(command: str, argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The beginning of ``command`` if the running one was started as ``argv``.

    >>> _begun("evaluate", ["/venv/bin/python", "-m", "ssl.train"], {"UV_RUN_RECURSION_DEPTH": "1"})
    'uv run python -m ssl.evaluate'
    >>> _begun("evaluate", ["python3", "-m", "selfsup.commands", "train"], {})
    'python3 -m selfsup.commands evaluate'
    """
    uv = "uv run " if environ.get("UV_RUN_RECURSION_DEPTH", "0") != "0" else ""
    python = "python" if uv else shlex.quote(argv[0])
    started = [*argv[1:], ""]
    module = started[started.index("-m") + 1] if "-m" in started[:-1] else ""
    if re.fullmatch(r"ssl\.\w+", module):
        return f"{uv}{python} -m ssl.{command}"
    if module in ("selfsup.commands", "selfsup.commands.__main__"):
        return f"{uv}{python} -m selfsup.commands {command}"
    program = next((each for each in started if Path(each).stem == "selfsup"), "selfsup")
    on_path = shutil.which("selfsup", path=environ.get("PATH"))
    plain = uv or program == "selfsup" or (on_path is not None and _same(on_path, program))
    return f"{uv}{'selfsup' if plain else shlex.quote(program)} {command}"


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
