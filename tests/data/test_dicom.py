"""DICOM, to the last bit: modality, padding, window and polarity, and nothing of a patient in any message."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest

from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.readers.reading import Reading

pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from .test_pictures import read, u2

S = np.arange(6).reshape(2, 3)
NAME = "Müller^Erika"
CT = {"BitsStored": 12, "RescaleSlope": 1, "RescaleIntercept": -1024}
WINDOW = {"WindowCenter": 40, "WindowWidth": 400}
SLICE = u2([[864, 924, 1064], [1144, 1263, 1264]])


def dicom(values: np.ndarray, photometry: str = "MONOCHROME2", **elements) -> bytes:
    about = Dataset()
    about.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    about.PatientName, about.PatientID = NAME, "id-12345"
    about.file_meta = FileMetaDataset()
    about.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    about.set_pixel_data(values, photometry, 8 * values.itemsize)
    for name, value in elements.items():
        setattr(about, name, value)
    about.HighBit = about.BitsStored - 1
    file = io.BytesIO()
    about.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_rescaled_numbers_and_a_range_or_a_window() -> None:
    by_range = [0, 38, 128, 178, 254, 255]
    linear = [0, 38, 128, 179, 255, 255]
    assert read(dicom(SLICE, **CT), (-160, 240)) == by_range
    assert read(dicom(SLICE, **CT, **WINDOW)) == read(dicom(SLICE, **CT), (-160, 239)) == linear
    assert read(dicom(SLICE, **CT, **WINDOW), (-160, 240)) == by_range
    exact = dicom(SLICE, **CT, **WINDOW, VOILUTFunction="LINEAR_EXACT")
    assert read(exact) == by_range
    assert read(dicom(SLICE, **CT, WindowCenter=[40, 300], WindowWidth=[400, 1500])) == linear
    sigmoid = dicom(SLICE, **CT, **WINDOW, VOILUTFunction="SIGMOID")
    assert read(sigmoid) == [30, 50, 128, 176, 224, 225]
    assert read(sigmoid, (-160, 240)) == by_range


def test_without_either_the_stored_bits_are_the_range() -> None:
    signed = np.array([[0x800, 0xFFF, 0], [0xF001, 0x7FF, 0x400]], np.uint16)
    assert read(dicom(signed, BitsStored=12, PixelRepresentation=1)) == [0, 127, 128, 128, 255, 191]
    assert read(dicom(u2([[0, 585, 4095]]), BitsStored=12)) == [0, 36, 255]
    assert read(dicom(u2([[0, 585, 4095]]), **CT)) == [0, 36, 255]
    fractions = dicom(u2([[0, 100, 200]]), BitsStored=16, RescaleSlope=0.5, RescaleIntercept=0.25)
    assert read(fractions, (0.25, 100.25)) == [0, 128, 255]


def test_monochrome1_is_inverted_once() -> None:
    grey = np.array([[0, 10, 100], [200, 250, 255]], np.uint8)
    assert read(dicom(grey, "MONOCHROME1")) == [255, 245, 155, 55, 5, 0]
    assert read(dicom(grey, "MONOCHROME1", PresentationLUTShape="INVERSE")) == [255, 245, 155, 55, 5, 0]
    assert read(dicom(grey, "MONOCHROME1"), (0, 200)) == [255, 242, 128, 0, 0, 0]
    window = read(dicom(SLICE, "MONOCHROME1", **CT, **WINDOW))
    assert window == [255, 217, 127, 76, 0, 0]
    sigmoid = dicom(SLICE, "MONOCHROME1", **CT, **WINDOW, VOILUTFunction="SIGMOID")
    assert np.array(read(sigmoid)).tolist() == [225, 205, 128, 79, 31, 30]


def test_colours_and_palettes() -> None:
    full = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107]]], np.uint8)
    assert read(dicom(full, "YBR_FULL"), channels=3) == [[254, 0, 0], [0, 255, 0], [0, 1, 254]]
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert read(dicom(rgb, "RGB"), channels=3) == [[1, 4], [2, 5], [3, 6]]
    table = {}
    for colour, entries in (("Red", [1, 2, 3]), ("Green", [4, 5, 6]), ("Blue", [7, 8, 9])):
        table[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        table[f"{colour}PaletteColorLookupTableData"] = (np.array(entries, "<u2") * 257).tobytes()
    indices = np.array([[0, 2, 1]], np.uint8)
    assert read(dicom(indices, "PALETTE COLOR", **table), channels=3) == [[1, 3, 2], [4, 6, 5], [7, 9, 8]]


def test_frames_and_what_each_says_of_itself() -> None:
    frames = np.stack([S, S + 6]).astype("u2") * 300
    file = dicom(frames, NumberOfFrames=2, RescaleSlope=2, RescaleIntercept=-100)
    expected = [[0, 21, 47, 72, 98, 123], [149, 174, 200, 225, 251, 255]]
    assert [read(file, (0, 6000), page=page, pages="all") for page in (0, 1)] == expected
    assert Picture(file, "a", (0, 6000), Reading(1, pages="all")).count == 2
    groups = []
    for slope in (1, 2):
        item, group = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept = slope, 0
        group.PixelValueTransformationSequence = Sequence([item])
        groups.append(group)
    own = dicom(frames, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=Sequence(groups))
    both = [read(own, (0, 6600), page=page, pages="all") for page in (0, 1)]
    assert both == [np.rint(255.0 * slope * frames[slope - 1] / 6600).ravel().tolist() for slope in (1, 2)]


def test_padding_is_no_data_in_stored_values() -> None:
    values = np.array([[-2000, -1000, 0, 100]], np.int16)
    stored = {"PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": 500, "BitsStored": 16}
    file = dicom(values.view(np.uint16), **stored, PixelPaddingValue=-2000)
    picture = Picture(file, "a", (-1500, 600), Reading(1))
    assert picture.pixels().flatten().tolist() == [0, 121, 243, 255]
    assert picture.stored.known().min() == -500
    white = dicom(values.view(np.uint16), "MONOCHROME1", **stored, PixelPaddingValue=-2000)
    assert read(white, (-1500, 600))[0] == 0
    ranged = dicom(u2([[5, 6, 7, 9]]), BitsStored=16, PixelPaddingValue=5, PixelPaddingRangeLimit=7)
    assert read(ranged, (0, 10)) == [0, 0, 0, 230]


def test_tables_of_values() -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4, 10, 8], np.array([0, 255, 51, 102], "<u2").tobytes()
    values = u2([[0, 10, 11, 12, 13, 99]])
    assert read(dicom(values, VOILUTSequence=Sequence([item]))) == [0, 0, 255, 51, 102, 102]
    assert read(dicom(values, VOILUTSequence=Sequence([item])), (0, 99))[-1] == 255
    modality = Dataset()
    modality.LUTDescriptor, modality.ModalityLUTType = [4, 10, 16], "US"
    modality.LUTData = np.array([0, 100, 200, 300], "<u2").tobytes()
    assert read(dicom(values, ModalityLUTSequence=Sequence([modality])), (0, 300)) == [
        0,
        0,
        85,
        170,
        255,
        255,
    ]


def without_pixels() -> bytes:
    about = Dataset()
    about.SOPClassUID, about.PatientName = "1.2.840.10008.5.1.4.1.1.88.11", NAME
    about.SOPInstanceUID = "1.2.3"
    about.file_meta = FileMetaDataset()
    about.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    file = io.BytesIO()
    about.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_what_has_no_pixels_is_damaged_or_packed_says_so_and_nothing_of_a_patient(tmp_path: Path) -> None:
    whole = dicom(SLICE, **CT, **WINDOW)
    lossless = whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.70"[:20])
    odd = dicom(SLICE, **CT)
    odd = odd.replace(b"1.2.840.10008.5.1.4.1.1.7", b"1.2.840.1.Erika.4.1.1.7.8")
    random = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file, reason in ((without_pixels(), "a DICOM file without pixels"), (lossless, "DICOM")):
            with pytest.raises(UnreadableImage, match=reason):
                Picture(file, "x").pixels()
        read(odd)
        said = []
        for place in random.integers(0, len(whole), 150).tolist():
            for damaged in (whole[:place], whole[:place] + random.bytes(1) + whole[place + 1 :]):
                try:
                    Picture(damaged or b"x", "x").pixels()
                except UnreadableImage as error:
                    said.append(str(error))
        assert len(said) > 50
        assert not any("ller" in each or "12345" in each for each in said)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        UnreadableImage, match=r"DICOM needs one more package: pip install 'selfsup\[pictures\]'"
    ):
        Picture(dicom(SLICE), "x")
