"""Names as text. To a file system a name is bytes; a terminal, a page and a table want characters."""

import os
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
    except UnicodeEncodeError:  # half a character, which stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def shown(name: Any, most: int | None = None) -> str:
    """A name as one line that changes nothing where it is printed: for terminals, pages and messages.

    Line breaks, escape sequences and characters that turn the direction of text are written as escapes.

    Args:
        name: of a file, a class, a run or an encoder.
        most: characters; of a longer name the middle is left out, since both ends tell names apart.

    >>> shown("a\\nb\\x1b[31m.png"), shown("runs/barlow-seed0", most=11)
    ('a\\\\nb\\\\x1b[31m.png', 'runs/…seed0')
    """
    text = "".join(each if each.isprintable() else _escape(each) for each in as_text(name))
    if most is None or len(text) <= most:
        return text
    left = (most - 1) // 2
    return f"{text[:left]}…{text[left + 1 - most :]}"


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def file_name(path: str | os.PathLike[str] | bytes) -> bytes:
    """The last part of a path, as the bytes that the file system knows: for identities."""
    return os.path.basename(os.fsencode(path))
