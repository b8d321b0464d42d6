"""The numbers of a TIFF's page as stored, for pages that Pillow decodes differently or not at all.

Pillow unpacks the bytes (LZW, deflate, PackBits, LZMA, Zstandard) of a page that is described to it as 8-bit
grey, as wide as a row has bytes; their meaning is interpreted here. TIFF Revision 6.0 (Adobe 1992), and its
Technical Note 3 for predictor 3.
"""

import io
import math
import struct
from typing import IO

import numpy as np
from PIL import TiffImagePlugin

from selfsup.data.readers.opening import LARGEST, most_pixels, require_small
from selfsup.data.readers.stacks import page_numbers
from selfsup.data.readers.tiff import Page, bytes_at
from selfsup.data.readers.values import Kind, Stored

AT_ONCE = 2**25  # bytes that are unpacked together
_NO_DATA = 42113  # GDAL's tag


def read_stored(file: IO[bytes], page: Page, every: bool = False, by: int = 1) -> Stored:
    """The numbers of the bands that are used, or of ``every`` band, upright.

    Args:
        by: one of so many rows and columns is kept. They are left out as strips and tiles are unpacked, so
            that memory holds what is kept, and 32 MiB or one strip or tile more.

    Raises:
        ValueError, OSError: it is of an unsupported kind (:meth:`Page.refusal`), or damaged.
    """
    if reason := page.refusal(every):
        raise ValueError(reason)
    kept = -(-page.width // by) * -(-page.height // by)
    require_small(kept * page.bands * page.dtype.itemsize, "a TIFF")
    used, alpha = page.bands if every else page.used(), None
    transparent = page.maybe_transparent and not every
    values = _numbers(file, page, used + 1 if transparent else used, by)
    if transparent and plausible(values[..., -1], page.kind.high):
        alpha = values[..., -1]
    colours = values[..., 0] if used == 1 else values[..., :used]
    if alpha is not None and page.premultiplied and page.number == "u":
        colours = _divided(colours, alpha, page.kind)
    return Stored(colours, page.kind, page.inverted, alpha, _missing(page)).turned(page.turn)


def plausible(alpha: np.ndarray, top: float) -> bool:
    """Whether a band may be transparency: half of it is either clear or opaque, and some of it is opaque."""
    opaque, clear = (int(np.count_nonzero(alpha == end)) for end in (top, 0))
    return opaque > 0 and 2 * (opaque + clear) >= alpha.size


def _divided(colours: np.ndarray, alpha: np.ndarray, kind: Kind) -> np.ndarray:
    weights = np.maximum(alpha, 1).astype(np.float64) / kind.high
    straight = colours / (weights if colours.ndim == 2 else weights[..., None])
    return np.rint(straight.clip(0, kind.high)).astype(colours.dtype)


def _missing(page: Page) -> float | None:
    """GDAL's number for no data; NaN needs none."""
    try:
        value = float(bytes(page.tags.get(_NO_DATA, ())).split(b"\0")[0].decode("ascii"))
    except ValueError:
        return None
    if page.number == "f":
        return value if math.isfinite(value) else None
    limits = np.iinfo(page.dtype)
    return int(value) if value.is_integer() and limits.min <= value <= limits.max else None


def _numbers(file: IO[bytes], page: Page, needed: int, by: int) -> np.ndarray:
    """(H, W, needed or more), of one in ``by`` rows and columns."""
    if page.packed():
        return page_numbers(file, page)[::by, ::by]
    if page.one(284, 1) == 2 and page.bands > 1:
        return np.stack([_plane(file, page, band, 1, by)[..., 0] for band in range(needed)], axis=-1)
    return _plane(file, page, 0, page.bands, by)[..., :needed]


def _plane(file: IO[bytes], page: Page, plane: int, bands: int, by: int) -> np.ndarray:
    """(H, W, bands) of one plane. Its segments are strips, or tiles: (rows, columns) each."""
    tiled = 324 in page.tags
    columns = page.one(322) if tiled else page.width
    rows = page.one(323) if tiled else min(page.one(278, page.height), page.height)
    if not (min(rows, columns) > 0 and rows * columns * page.bands * page.dtype.itemsize <= LARGEST):
        raise ValueError("its header is damaged")
    across, down = -(-page.width // columns), -(-page.height // rows)
    offsets, counts = page.tags.get(324 if tiled else 273, ()), page.tags.get(325 if tiled else 279, ())
    planes = page.bands if bands < page.bands else 1
    if not len(offsets) == len(counts) == across * down * planes:
        raise ValueError("its header is damaged: it does not say where all of its strips or tiles are")
    if 0 in counts:
        raise ValueError("a TIFF with strips or tiles left out; write it again with all of them")
    if sum(counts) > page.length:
        raise ValueError("its header points outside of it")
    row_bytes = -(-columns * bands * page.bits // 8)
    if page.one(259, 1) != 1 and rows * row_bytes > most_pixels():
        raise ValueError(
            "a TIFF of a few large strips; write it again in tiles, as by 'tiffcp -t FILE tiled.tif'"
        )
    found = np.empty((-(-page.height // by), -(-page.width // by), bands), page.dtype)
    step = max(1, AT_ONCE // (row_bytes * rows * across))
    for first in range(0, down, step):
        last = min(first + step, down)
        own = slice((plane * down + first) * across, (plane * down + last) * across)
        parts = [bytes_at(file, *part, page.length) for part in zip(offsets[own], counts[own], strict=True)]
        whole = (last - first) * across * rows if tiled else min(last * rows, page.height) - first * rows
        block = _typed(_unpacked(parts, page.one(259, 1), row_bytes, rows, whole), page, columns, bands)
        if tiled:
            block = block.reshape(last - first, across, rows, columns, bands).swapaxes(1, 2)
            block = block.reshape((last - first) * rows, across * columns, bands)
        start, stop = first * rows, min(last * rows, page.height)
        kept = block[-start % by : stop - start : by, : page.width : by]
        found[-(-start // by) :][: len(kept)] = kept
    return found


def _unpacked(parts: list[bytes], packing: int, row_bytes: int, rows: int, whole: int) -> np.ndarray:
    """uint8 (whole, row_bytes) of segments of so many ``rows``; the last may have fewer."""
    if packing == 1:
        sizes = [row_bytes * min(rows, whole - start) for start in range(0, whole, rows)]
        if any(len(part) < size for part, size in zip(parts, sizes, strict=True)):
            raise ValueError("it is cut off")
        content = b"".join(part[:size] for part, size in zip(parts, sizes, strict=True))
        return np.frombuffer(content, np.uint8).reshape(whole, row_bytes)
    starts = 8 + np.cumsum([0, *map(len, parts)])
    tags = {256: [row_bytes], 257: [whole], 258: [8], 259: [packing], 262: [1], 277: [1], 278: [rows]}
    tags |= {273: [*starts[:-1].tolist()], 279: [*map(len, parts)]}
    body, entries = b"".join(parts), b""
    for tag, values in sorted(tags.items()):
        raw = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += raw if len(raw) == 4 else struct.pack("<I", 8 + len(body))
        body += raw if len(raw) > 4 else b""
    page = struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body
    page += struct.pack("<H", len(tags)) + entries + bytes(4)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(page)) as image:
        return np.array(image)


def _typed(content: np.ndarray, page: Page, columns: int, bands: int) -> np.ndarray:
    """(rows, columns, bands) of a segment's bytes (rows, row_bytes), in this machine's order."""
    predictor, size = page.one(317, 1), page.dtype.itemsize
    in_file = np.dtype(f"{page.order}{page.dtype.str[1:]}")
    shape = (len(content), columns, bands)
    if page.bits % 8:
        bits = np.unpackbits(content, axis=1)[:, : columns * bands * page.bits].reshape(*shape, page.bits)
        weights = (1 << np.arange(page.bits - 1, -1, -1, dtype=np.uint64)).astype(page.dtype)
        return bits.astype(page.dtype) @ weights
    if predictor == 3:
        content = np.cumsum(content.reshape(len(content), -1, bands), axis=1, dtype=np.uint8)
        # The most significant bytes of all numbers, then the next, and so on.
        content, in_file = content.reshape(len(content), size, -1).swapaxes(1, 2), in_file.newbyteorder(">")
    numbers = np.ascontiguousarray(content).view(in_file).reshape(shape).astype(page.dtype)
    if predictor == 2:
        numbers = np.cumsum(numbers.view(f"u{size}"), axis=1, dtype=f"u{size}").view(page.dtype)
    return numbers
