"""DICOM by pydicom, in the order of the standard: modality, padding, window, polarity.

Only the elements that say how pixels are stored and shown are read, and no message of pydicom's is passed on:
those quote values, which may be a patient's.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.readers.extras import library
from selfsup.data.readers.numbers import Numbers
from selfsup.data.readers.opening import LARGEST, most_pixels, opened, too_large
from selfsup.data.readers.values import BYTES, FLOATS, WINDOWED, Kind, Stored

_LOSSLESS = "pip install python-gdcm, or pylibjpeg and pylibjpeg-libjpeg, which is under the GPL"
# How pixels are stored and shown; group 28 holds nothing else of a picture.
_TAGS = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    "SegmentedBluePaletteColorLookupTableData",
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


class _Private(AbstractContextManager[None]):
    """Replaces every message of pydicom, which may quote a patient's data, by the kind of its error."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, _Said):
            raise ValueError(str(error)) from None
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            reason = f"its DICOM is damaged, or of a kind that is not read ({type(error).__name__})"
            raise ValueError(reason) from None


def _silent() -> Any:
    return warnings.catch_warnings(action="ignore")


class _Said(Exception):
    """A reason in words of our own."""


def open_dicom(file: str | Path | bytes, page: Callable[[int], int]) -> Numbers:
    """One frame of a DICOM file.

    Args:
        page: chooses a frame, given how many there are.

    Raises:
        ValueError: pydicom is missing, or the file has no pixels or is damaged.
    """
    pydicom = library("pydicom", "DICOM")
    pydicom.config.logger.setLevel("CRITICAL")
    with _Private(), _silent(), opened(file) as stream:
        about = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
        rows, columns = int(about.get("Rows") or 0), int(about.get("Columns") or 0)
        if not rows * columns:
            raise _Said("a DICOM file without pixels")
        if rows * columns > most_pixels():
            raise _Said(too_large(rows * columns))
        bits, samples = int(about.get("BitsAllocated") or 0), int(about.get("SamplesPerPixel") or 1)
        if samples > 4 or bits > 64 or rows * columns * samples * max(8, bits) // 8 > LARGEST:
            raise _Said("a DICOM file whose header is damaged")
        count = max(1, int(about.get("NumberOfFrames") or 1))
        number = page(count)
        _require_decoder(pydicom, about.file_meta.TransferSyntaxUID)

    def read() -> Stored:
        with _Private(), _silent(), opened(file) as stream:
            values = pydicom.pixels.pixel_array(stream, index=number)
            return _meant(values, about, number)

    return Numbers(rows, columns, read, count)


def _require_decoder(pydicom: Any, syntax: Any) -> None:
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise _Said(f"DICOM packed as '{syntax.name}', which is not read") from None
    if not decoder.is_available:
        raise _Said(f"DICOM packed as '{syntax.name}' needs a decoder: {_LOSSLESS}")


def _meant(values: np.ndarray, about: Any, number: int) -> Stored:
    """What a frame's stored numbers mean, upright as they are.

    Args:
        values: (H, W), or (H, W, 3) of colours.
        about: the header.
    """
    photometry = str(about.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    if photometry == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        found = apply_color_lut(values, about)
        kind = BYTES if found.dtype == np.uint8 else Kind("16-bit", 0, 65535)
        return Stored(found, kind)
    bits, signed = int(about.get("BitsStored") or 8 * values.itemsize), values.dtype.kind == "i"
    kind = Kind(f"signed {bits}-bit", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    kind = kind if signed else Kind("8-bit" if bits <= 8 else f"{bits}-bit", 0, 2**bits - 1)
    kind = FLOATS if values.dtype.kind == "f" else kind
    if values.ndim == 3:
        return Stored(values, kind)
    padding = _padded(values, about)
    frame = _frame(about, number)
    values, kind = _modality(values, kind, frame("PixelValueTransformationSequence"))
    if padding is not None:
        values = np.where(padding, np.nan, values)
    window = frame("FrameVOILUTSequence")
    centre, width = (_first(window.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function, shown = str(window.get("VOILUTFunction") or "LINEAR").strip(), None
    if window.get("VOILUTSequence"):
        shown = _table_of(window.VOILUTSequence[0])(values)
    elif centre is not None and width is not None and width > 0:
        if function == "SIGMOID":
            shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        elif function == "LINEAR_EXACT":
            kind = Kind(WINDOWED, centre - width / 2, centre + width / 2)
        elif width >= 1:
            # Of width 1, a threshold: the narrowest window that still has two ends.
            half = max((width - 1) / 2, 1e-6)
            kind = Kind(WINDOWED, centre - 0.5 - half, centre - 0.5 + half)
    if shown is not None:
        kind = kind._replace(name=WINDOWED)
        shown = shown if padding is None else np.where(padding, np.nan, shown)
    return Stored(values, kind, photometry == "MONOCHROME1", shown=shown)


def _frame(about: Any, number: int) -> Callable[[str], Any]:
    """The elements of a sequence of one frame: its own, those of all frames, or the file's."""

    def find(sequence: str) -> Any:
        own = about.get("PerFrameFunctionalGroupsSequence") or []
        groups = [*own[number : number + 1], *(about.get("SharedFunctionalGroupsSequence") or [])]
        return next((group[sequence].value[0] for group in groups if group.get(sequence)), about)

    return find


def _padded(values: np.ndarray, about: Any) -> np.ndarray | None:
    """bool (H, W), True where there is no data; None if every pixel has some."""
    first = about.get("PixelPaddingValue")
    if first is None:
        return None
    bits = 8 * values.dtype.itemsize
    ends = [int(_first(first) or 0), int(_first(about.get("PixelPaddingRangeLimit", first)) or 0)]
    if values.dtype.kind == "i":  # a number that is read as unsigned where the pixels are not
        ends = [end - 2**bits if end >= 2 ** (bits - 1) else end for end in ends]
    elif values.dtype.kind == "u":
        ends = [end % 2**bits for end in ends]
    found = (values >= min(ends)) & (values <= max(ends))
    return found if found.any() else None


def _modality(values: np.ndarray, kind: Kind, about: Any) -> tuple[np.ndarray, Kind]:
    if about.get("ModalityLUTSequence"):
        item = about.ModalityLUTSequence[0]
        bits = int(item.LUTDescriptor[2])
        scale = 2**bits - 1
        return np.rint(_table_of(item)(values) * scale).astype(np.int32), Kind(f"{bits}-bit", 0, scale)
    slope, intercept = (_first(about.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if (slope, intercept) == (1, 0) or not slope:
        return values, kind
    low, high = sorted((slope * kind.low + intercept, slope * kind.high + intercept))
    kind = kind._replace(name=f"rescaled {kind.name}", low=low, high=high)
    whole = values.dtype.kind in "ui" and slope.is_integer() and intercept.is_integer()
    if whole and max(abs(low), abs(high)) < 2**31:
        return values.astype(np.int32) * int(slope) + int(intercept), kind
    return values.astype(np.float64) * slope + intercept, kind


def _table_of(item: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a look-up table, to 0 to 1; before and behind it its first and last value hold."""
    count, first, bits = (int(each) for each in item.LUTDescriptor)
    data = item.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data, np.uint16)
    count = count or 2**16
    if len(entries) < count or not 8 <= bits <= 16:
        raise _Said("a DICOM file whose look-up table is damaged")
    entries = entries[:count] / (2**bits - 1)

    def apply(values: np.ndarray) -> np.ndarray:
        known = np.nan_to_num(values.astype(np.float64), nan=first)
        return entries[np.clip(known - first, 0, count - 1).astype(np.int64)]

    return apply


def _first(value: Any) -> float | None:
    """The first of one or more numbers; None for none, and what is not finite."""
    many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    value = (value[0] if len(value) else None) if many else value
    number = None if value is None or value == "" else float(value)
    return number if number is not None and math.isfinite(number) else None
