"""Files that Pillow does not know, by their first bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfsup.data.readers.numbers import HEAD, Numbers, format_of, open_heif, open_numpy
from selfsup.data.readers.opening import most_pixels, opened, too_large


def open_numbers(file: str | Path | bytes, page: Callable[[int], int]) -> tuple[Numbers | None, Any]:
    """A picture of numbers, or Pillow's image of a HEIC; both None for a file that is neither.

    Args:
        page: chooses a page, given how many there are.

    Raises:
        ValueError, OSError: a package is missing, or the file is damaged or too large.
    """
    with opened(file) as stream:
        kind = format_of(stream.read(HEAD))
    if kind == "heif":
        image = open_heif(file)
        if image.width * image.height > most_pixels():
            raise ValueError(too_large(image.width * image.height))
        return None, image
    if kind == "dicom":
        from selfsup.data.readers.dicom import open_dicom

        return open_dicom(file, page), None
    return (open_numpy(file), None) if kind == "numpy" else (None, None)
