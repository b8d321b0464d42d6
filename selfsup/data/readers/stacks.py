"""What tifffile reads: TIFFs that are packed as pixels, and those whose pages are channels and slices.

The meaning of a page's numbers is judged by :mod:`selfsup.data.readers.tiff`, as for any other TIFF.
"""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from selfsup.data.readers.extras import installed, library, remedy
from selfsup.data.readers.opening import require_small
from selfsup.data.readers.tiff import Page
from selfsup.data.readers.values import Kind, Stored, kind_of

_CHANNELS, _PLANE = "SC", "YX"

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it reports what is odd in every file


@contextmanager
def _tifffile(file: IO[bytes], what: str) -> Iterator[Any]:
    # Never _multifile: the description of an OME-TIFF may name any other file.
    with library("tifffile", what).TiffFile(file, _multifile=False) as opened:
        yield opened


def page_numbers(file: IO[bytes], page: Page) -> np.ndarray:
    """(H, W, S) of a page whose packing Pillow's own decoders do not know.

    Raises:
        ValueError, OSError: it is damaged, or packed in a way that no library at hand unpacks.
    """
    what = f"a TIFF of {page.called()} {page.packed()}"
    with _tifffile(file, what) as opened:
        if not installed("imagecodecs"):
            raise ValueError(f"{what} needs one more package: {remedy('imagecodecs')}")
        found = opened.pages[page.place]
        require_small(found.nbytes, "a TIFF")
        try:
            values = found.asarray(maxworkers=1)
        except MemoryError:
            raise
        except Exception as error:  # each codec has its own
            raise ValueError(f"{what} that is damaged: {' '.join(str(error).split())}") from error
    shape = page.height, page.width, page.bands
    if values.shape == (page.bands, page.height, page.width) and page.one(284, 1) == 2:
        values = values.transpose(1, 2, 0)
    if values.size != math.prod(shape) or values.shape[:2] != shape[:2] or values.dtype != page.dtype:
        raise ValueError(f"{what} that unpacks to {values.dtype} {values.shape}")
    return values.reshape(shape)


@dataclass(frozen=True)
class Stack:
    """The pictures of an OME-TIFF or of ImageJ.

    Attributes:
        count: pictures; slices and times count as pictures of their own.
        height, width: in pixels.
        kind: of their numbers.
    """

    count: int
    height: int
    width: int
    kind: Kind


def describe_stack(file: IO[bytes]) -> Stack:
    """What its header says.

    Raises:
        ValueError: it is damaged, or has no plane.
    """
    with _tifffile(file, "a TIFF whose pages are channels") as opened:
        series, axes = _series(opened)
        sizes = dict(zip(axes, series.shape, strict=True))
        count = math.prod(size for axis, size in sizes.items() if axis not in _CHANNELS + _PLANE)
        bits = re.search(r'SignificantBits="(\d+)"', opened.ome_metadata or "")
        declared = int(bits[1]) if bits and series.dtype.kind == "u" else None
        kind = kind_of(series.dtype, declared if declared and 8 < declared <= 16 else None)
    return Stack(count, sizes["Y"], sizes["X"], kind)


def read_stack(file: IO[bytes], stack: Stack, number: int) -> Stored:
    """One of its pictures, with all channels.

    Raises:
        ValueError, OSError: it is damaged.
    """
    with _tifffile(file, "a TIFF whose pages are channels") as opened:
        series, axes = _series(opened)
        sizes = dict(zip(axes, series.shape, strict=True))
        inside = axes.index("Y") if "S" not in axes else min(axes.index("Y"), axes.index("S"))
        outer = {axis: sizes[axis] for axis in axes[:inside]}  # over pages; what follows is within one
        others = [axis for axis in outer if axis != "C"]
        place = dict(zip(others, np.unravel_index(number, [outer[axis] for axis in others]), strict=True))
        require_small(math.prod(sizes.get(axis, 1) for axis in "SCYX") * series.dtype.itemsize, "a TIFF")
        planes = []
        for channel in range(outer.get("C", 1)):
            where = [place.get(axis, channel) for axis in outer]
            page = int(np.ravel_multi_index(where, list(outer.values()))) if outer else 0
            plane = _plane(opened, series, page, [sizes[axis] for axis in axes[inside:]])
            planes.append(
                np.moveaxis(plane, axes[inside:].index("S"), -1) if "S" in axes else plane[..., None]
            )
    return Stored(np.concatenate(planes, axis=2), stack.kind)


def _series(opened: Any) -> tuple[Any, str]:
    """The images with the largest plane, and their axes, the slowest first."""
    fit = [each for each in opened.series if {*_PLANE} <= {*each.axes}]
    if not fit:
        raise ValueError("a TIFF without a plane of pixels")
    found = max(fit, key=lambda each: each.shape[each.axes.index("Y")] * each.shape[each.axes.index("X")])
    if found.dtype is None or found.dtype.kind not in "uif":
        raise ValueError(f"a TIFF of {found.dtype}, which is not read")
    return found, found.axes


def _plane(opened: Any, series: Any, page: int, shape: list[int]) -> np.ndarray:
    if series.dataoffset is not None:  # ImageJ describes one page, behind which all others lie
        size = math.prod(shape) * series.dtype.itemsize
        opened.filehandle.seek(series.dataoffset + page * size)
        content = opened.filehandle.read(size)
        if len(content) < size:
            raise ValueError("it is cut off")
        values = np.frombuffer(content, series.dtype.newbyteorder(opened.byteorder))
        return values.astype(series.dtype).reshape(shape)
    found = series.pages[page]
    if found is None:
        raise ValueError("a page is missing")
    require_small(found.nbytes, "a TIFF")
    values = found.asarray(maxworkers=1)
    return values.reshape(shape)
