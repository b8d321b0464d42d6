"""The shape of pictures: their sides, a number of pixels or ``[height, width]``, and their channels."""

from collections.abc import Iterable, Sequence

__all__ = ["MOST_CHANNELS", "compact", "in_words", "sides", "sizes_in_words"]

MOST_CHANNELS = 16


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width.

    >>> sides(32), sides([64, 128])
    ((32, 32), (64, 128))
    """
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def compact(size: int | Sequence[int]) -> int | list[int]:
    """As settings and files have it: a number if both sides are equal, else a list.

    >>> compact((32, 32)), compact((64, 128))
    (32, [64, 128])
    """
    height, width = sides(size)
    return height if height == width else [height, width]


def in_words(size: int | Sequence[int]) -> str:
    """As a person reads it, height first.

    >>> in_words(32), in_words((64, 128))
    ('32 px', '64 x 128 px')
    """
    height, width = sides(size)
    return f"{height} px" if height == width else f"{height} x {width} px"


def sizes_in_words(sizes: Iterable[int | Sequence[int]]) -> str:
    """Several, each once.

    >>> sizes_in_words([(32, 32), (32, 32), (16, 24)])
    '32/16 x 24 px'
    """
    return "/".join(in_words(size).removesuffix(" px") for size in dict.fromkeys(sizes)) + " px"
