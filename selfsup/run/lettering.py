"""Text on a picture, in a font that has its letters; letters that no font has are written as escapes."""

from functools import cache
from typing import Any, NamedTuple

from PIL import ImageFont

from selfsup.text import escaped, shown

# Fonts of the system; the first with all letters is used, after Pillow's own for ASCII.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
)
_OF_NO_FONT = "\U0010fffe"


class Lettered(NamedTuple):
    """A text and the font that has its letters."""

    text: str
    font: Any

    @property
    def length(self) -> float:
        """In pixels."""
        return float(self.font.getlength(self.text))


def lettered(name: Any, size: int) -> Lettered:
    """A name on one line, with escapes for the letters that the best of the installed fonts lacks.

    >>> lettered("zero.png", 14).text
    'zero.png'
    """
    text = shown(name)
    lacking = {font: _lacking(font, text, size) for font in (None, *(_FONTS if not text.isascii() else ()))}
    best = min(lacking, key=lambda font: len(lacking[font]))
    letters = (escaped(each) if each in lacking[best] else each for each in text)
    return Lettered("".join(letters), _font(best, size))


def _lacking(font: str | None, text: str, size: int) -> set[str]:
    """The letters that the font draws as a missing one."""
    drawn = _font(font, size)
    if drawn is None:
        return set(text) | {""}  # a letter that no font has
    if font is None and text.isascii():
        return set()
    none = _looks(drawn, _OF_NO_FONT)
    return {each for each in set(text) if each != " " and _looks(drawn, each) == none}


def _looks(font: Any, letter: str) -> tuple[Any, bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@cache
def _font(name: str | None, size: int) -> Any:
    """Pillow's own font, or one of the system's; None if it has none of that name."""
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
