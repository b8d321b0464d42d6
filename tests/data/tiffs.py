"""TIFFs of the tests' own making, byte by byte, for Pillow writes few kinds."""

import struct
import zlib
from typing import Any

import numpy as np

_TYPES = {2: "s", 3: "H", 4: "I", 12: "d"}
PACKINGS = {1: bytes, 8: zlib.compress}


def tiff(
    numbers: np.ndarray,
    photometry: int = 1,
    *,
    order: str = "<",
    bits: int | None = None,
    extra: list[int] | None = None,
    planar: bool = False,
    tile: int | None = None,
    rows: int | None = None,
    packing: int = 1,
    predictor: int = 1,
    tags: dict[int, tuple[int, Any]] | None = None,
    pages: int = 1,
) -> bytes:
    """A file with (H, W) or (H, W, S) numbers on each of so many pages.

    Args:
        order: "<" or ">" of bytes.
        bits: of unsigned numbers that are packed one after the other, if not those of their type.
        extra: what the bands behind the colours are said to be.
        tile: pixels a side; None for strips of so many `rows`, or one.
        tags: (type, values) of further tags.
    """
    cube = numbers[..., None] if numbers.ndim == 2 else numbers
    height, width, bands = cube.shape
    planes = [cube[..., [band]] for band in range(bands)] if planar else [cube]
    segments = []
    for plane in planes:
        if tile:
            wide = np.pad(plane, [(0, -height % tile), (0, -width % tile), (0, 0)])
            segments += [
                wide[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        else:
            segments += [plane[top : top + (rows or height)] for top in range(0, height, rows or height)]
    data = [PACKINGS[packing](_encoded(each, order, bits, predictor)) for each in segments]
    kind = {"u": 1, "i": 2, "f": 3}[numbers.dtype.kind]
    about: dict[int, tuple[int, Any]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits or 8 * numbers.itemsize] * bands),
        259: (3, [packing]),
        262: (3, [photometry]),
        277: (3, [bands]),
        284: (3, [1 + planar]),
        317: (3, [predictor]),
        339: (3, [kind] * bands),
        **({322: (3, [tile]), 323: (3, [tile])} if tile else {278: (4, [rows or height])}),
        **({338: (3, extra)} if extra is not None else {}),
        **(tags or {}),
    }
    body = struct.pack(order + "2sHI", {"<": b"II", ">": b"MM"}[order], 42, 0)
    links = [4]
    for _ in range(pages):
        starts = []
        for part in data:
            starts.append(len(body))
            body += part + bytes(len(part) % 2)
        about[324 if tile else 273] = (4, starts)
        about[325 if tile else 279] = (4, [len(part) for part in data])
        entries = b""
        for tag, (type_, values) in sorted(about.items()):
            raw = values if type_ == 2 else struct.pack(f"{order}{len(values)}{_TYPES[type_]}", *values)
            at = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", len(body))
            body += raw + bytes(len(raw) % 2) if len(raw) > 4 else b""
            entries += struct.pack(order + "HHI", tag, type_, len(values)) + at
        body = body[: links[-1]] + struct.pack(order + "I", len(body)) + body[links[-1] + 4 :]
        body += struct.pack(order + "H", len(about)) + entries
        links.append(len(body))
        body += bytes(4)
    return body


def _encoded(segment: np.ndarray, order: str, bits: int | None, predictor: int) -> bytes:
    if bits:
        rows = ("".join(format(int(value), f"0{bits}b") for value in row.ravel()) for row in segment)
        return b"".join(
            int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows
        )
    if predictor == 2:
        segment = segment.copy()
        segment[:, 1:] -= segment[:, :-1].copy()
    if predictor == 3:
        size, bands = segment.itemsize, segment.shape[2]
        by_weight = segment.astype(segment.dtype.newbyteorder(">")).view(np.uint8)
        by_weight = by_weight.reshape(len(segment), -1, size).swapaxes(1, 2).reshape(len(segment), -1, bands)
        by_weight[:, 1:] -= by_weight[:, :-1].copy()
        return by_weight.tobytes()
    return segment.astype(segment.dtype.newbyteorder(order)).tobytes()
