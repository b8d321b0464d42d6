"""Names as text. To a file system a name is bytes; a terminal, a page and a table need characters."""

import os
from collections.abc import Mapping
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def as_text(name: Any) -> str:
    """A name as valid Unicode, otherwise unchanged: for Parquet, CSV and JSON.

    Bytes that are not UTF-8 are written as ``\\xNN``. Line breaks stay: they belong to the name.

    >>> as_text("caf\\udce9.png")
    'caf\\\\xe9.png'
    """
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which does not stand for a byte
        return text.encode("utf-8", "backslashreplace").decode()


def shown(name: Any, most: int | None = None) -> str:
    """A name as one safe line: for terminals, pages and messages.

    Line breaks, escape sequences and characters that turn the direction of text are written as escapes.

    Args:
        name: of a file, a class, a run or an encoder.
        most: characters; a longer name is shortened in the middle, since its ends distinguish it.

    >>> shown("a\\nb\\x1b[31m.png"), shown("runs/barlow-seed0", most=11)
    ('a\\\\nb\\\\x1b[31m.png', 'runs/…seed0')
    """
    text = as_text(name)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else escaped(each) for each in text)
    if most is None or len(text) <= most:
        return text
    left = (most - 1) // 2
    return f"{text[:left]}…{text[left + 1 - most :]}"


def printable(value: Any) -> Any:
    """All texts in plain JSON types, each as :func:`shown` prints it, for a page or a table.

    >>> printable({"name": "a\\nb", "rows": ["c", 1]})
    {'name': 'a\\\\nb', 'rows': ['c', 1]}
    """
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {printable(key): printable(inside) for key, inside in value.items()}
    return [printable(inside) for inside in value] if isinstance(value, list | tuple) else value


def escaped(character: str) -> str:
    """A character as Python's ASCII escape."""
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def file_name(path: str | os.PathLike[str] | bytes) -> bytes:
    """The last part of a path, as the file system's bytes: for identities."""
    return os.path.basename(os.fsencode(path))
