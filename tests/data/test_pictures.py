"""Scientific pictures, to the last bit: small files, and the bytes that fractions say they become."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.readers.reading import Reading

from .images import encoded
from .tiffs import tiff

S = np.arange(6).reshape(2, 3)
RGB = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) * 240


def u2(values: list) -> np.ndarray:
    return np.array(values, np.uint16)


def read(file: bytes | Path, range=None, channels: int = 1, page: int | None = None, **reading) -> list:
    """Of one channel a row of all pixels, of several a list of these."""
    pixels = Picture(file, "a picture", range, Reading(channels, **reading), page).pixels()
    assert pixels.shape[0] == channels
    flat = pixels.reshape(channels, -1).tolist()
    return flat[0] if channels == 1 else flat


def written(values: np.ndarray, photometric: str = "minisblack", **options) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=photometric, **options)
    return file.getvalue()


def map_of(bands: np.ndarray, missing: str | None = None, **options) -> bytes:
    """As GDAL writes (bands, H, W)."""
    tags = [(42113, 2, 0, missing, True)] if missing else []
    tags.append((33550, 12, 3, (10.0, 10.0, 0.0), True))
    planar = {"planarconfig": "separate"} if len(bands) > 1 else {}
    values = bands if len(bands) > 1 else bands[0]
    return written(values, extratags=tags, metadata=None, **planar, **options)


@pytest.mark.parametrize(
    ("values", "options", "range", "expected"),
    [
        (u2([[0, 16, 1000], [2040, 4064, 4080]]), {}, (0, 4080), [0, 1, 62, 128, 254, 255]),
        (np.array([[-2000, -1000, -160], [40, 240, 3000]], "i2"), {}, (-160, 240), [0, 0, 0, 128, 255, 255]),
        (u2([[0, 585, 1170], [2048, 3510, 4095]]), {"bitspersample": 12}, None, [0, 36, 73, 128, 219, 255]),
        (
            u2([[0, 100, 511], [512, 1000, 1023]]),
            {"bitspersample": 10, "photometric": "miniswhite"},
            None,
            [255, 230, 128, 127, 6, 0],
        ),
        (np.array([[-1, -0.5, 0], [0.25, 0.999, 1]]), {}, (-1, 1), [0, 64, 128, 159, 255, 255]),
        (
            np.array([[0, 2**31 - 1, 2**31], [3 * 10**9, 4 * 10**9, 2**32 - 1]], "u4"),
            {},
            None,
            [0, 127, 128, 178, 237, 255],
        ),
        (
            np.array([[0, 0.125, 0.25], [0.5, 0.75, 1]], "f4"),
            {"compression": "lerc"},
            None,
            [0, 32, 64, 128, 191, 255],
        ),
    ],
)
def test_one_band_tiff(values, options, range, expected) -> None:
    if options.keys() & {"compression", "bitspersample"}:
        pytest.importorskip("imagecodecs")
    assert read(written(values, **options), range) == expected


def test_a_tiled_and_predicted_bigtiff() -> None:
    values = np.arange(2000, dtype="u2").reshape(40, 50)
    pytest.importorskip("imagecodecs")
    for packing in ("zlib", "zstd", "lzw"):
        file = written(values, tile=(16, 16), predictor=True, bigtiff=True, compression=packing)
        found = np.array(read(file, (0, 1999))).reshape(40, 50)
        assert (found.sum(), found[0, 49], found[20, 25]) == (255000, 6, 131)


@pytest.mark.parametrize("kind", ["chunky", "planar", "png"])
def test_colours_of_16_bits(kind: str) -> None:
    if kind == "png":
        file = pytest.importorskip("imagecodecs").png_encode(RGB)
    else:
        planar = np.moveaxis(RGB, -1, 0).copy()
        file = written(planar, "rgb", planarconfig=2) if kind == "planar" else written(RGB, "rgb")
    expected = [[first + step for step in range(0, 226, 45)] for first in (0, 15, 30)]
    assert read(file, (0, 4080), channels=3) == expected
    assert read(file, (0, 4080), channels=3, bands=(3, 2, 1)) == expected[::-1]
    assert read(file, (0, 4080), bands=(2,)) == expected[1]


def test_four_bands_of_8_bits_are_unchanged_and_chosen_by_number() -> None:
    bands = (np.arange(24).reshape(4, 2, 3) * 10).astype("u1")
    rows = bands.reshape(4, -1).tolist()
    for file in (map_of(bands), tiff(bands.transpose(1, 2, 0), 2, extra=[2]), tiff(bands.transpose(1, 2, 0))):
        assert read(file, channels=4) == rows
        assert read(file, channels=3, bands=(4, 3, 2)) == rows[:0:-1]
        assert read(file, channels=2, bands=(1, 1)) == [rows[0]] * 2
    assert read(map_of(bands[:2]), channels=2) == rows[:2]


def test_a_range_for_each_of_five_bands() -> None:
    bands = (np.arange(30).reshape(5, 2, 3) * 100).astype("u2")
    ranges = tuple((low, low + 1000) for low in range(0, 2001, 500))
    assert read(map_of(bands), ranges, channels=5) == [
        [0, 26, 51, 76, 102, 128],
        [26, 51, 76, 102, 128, 153],
        [51, 76, 102, 128, 153, 178],
        [76, 102, 128, 153, 178, 204],
        [102, 128, 153, 178, 204, 230],
    ]
    part, [box] = Picture(map_of(bands), "a", ranges, Reading(5)).around([[1, 1, 1, 2]])
    assert part.tolist() == [[[102, 128]], [[128, 153]], [[153, 178]], [[178, 204]], [[204, 230]]]
    assert box == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("values", "missing", "range", "expected"),
    [
        (np.array([[[np.nan, -1, 0], [2.5, 10, 12]]], "f4"), "nan", (0, 10), [0, 0, 0, 64, 255, 255]),
        (
            np.array([[[-9999, 0, 100], [200, 300, 400]]], "i2"),
            "-9999",
            (0, 400),
            [0, 0, 64, 128, 191, 255],
        ),
        (
            np.array([[[-3.4028234663852886e38, 0.25, 0.5], [0.75, 1, 2]]], "f4"),
            "-3.4028234663852886e+38",
            (0, 1),
            [0, 64, 128, 191, 255, 255],
        ),
    ],
)
def test_no_data_of_maps(values, missing, range, expected) -> None:
    assert read(map_of(values, missing), range) == expected
    two = np.concatenate([values, values * 0])
    assert read(map_of(two, missing), range, channels=2)[0] == expected


def test_pages() -> None:
    pages = np.stack([0 * S, S * 200, 0 * S + 1000]).astype("u2")
    for file in (written(pages), tiff(pages[0]) and written(pages, metadata=None)):
        middle = Picture(file, "a stack", (0, 1000), Reading(1, pages="middle"))
        assert middle.pixels().flatten().tolist() == [0, 51, 102, 153, 204, 255]
        assert middle.count == 3
        every = [read(file, (0, 1000), page=page, pages="all") for page in range(3)]
        assert every == [[0] * 6, [0, 51, 102, 153, 204, 255], [255] * 6]
    eight = encoded(
        Image.new("L", (2, 1), 3), "TIFF", save_all=True, append_images=[Image.new("L", (2, 1), 7)]
    )
    assert [read(eight, page=page, pages="all") for page in (0, 1)] == [[3, 3], [7, 7]]
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("black", "white")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert [read(gif, page=page, pages="all")[0] for page in (0, 1)] == [0, 255]


@pytest.mark.parametrize("kind", ["ome", "imagej", "packed ome"])
def test_channels_on_pages_of_their_own(kind: str) -> None:
    values = np.arange(2 * 3 * 4 * 5 * 6, dtype="u2").reshape(2, 3, 4, 5, 6)  # times, slices, channels
    tifffile = pytest.importorskip("tifffile")
    options = {"imagej": True} if kind == "imagej" else {"ome": True}
    options |= {"compression": "zlib"} if kind == "packed ome" else {}
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata={"axes": "TZCYX"}, photometric="minisblack", **options)
    first = Picture(file.getvalue(), "cells", (0, 719), Reading(4, pages="all"))
    assert first.count == 6
    for picture in range(6):
        found = read(file.getvalue(), (0, 719), channels=4, page=picture, pages="all")
        expected = np.rint(255.0 * values.reshape(6, 4, 30)[picture] / 719)
        assert found == expected.tolist()
    assert (
        read(file.getvalue(), (0, 719), bands=(3,)) == np.rint(255.0 * values[0, 0, 2] / 719).ravel().tolist()
    )


def test_an_ome_tiff_reads_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    (tmp_path / "other.tif").write_bytes(written(u2([[7, 7]]), metadata=None))
    described = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="i">'
        '<Pixels ID="p" DimensionOrder="XYCZT" Type="uint16" SizeX="2" SizeY="1" SizeC="2" SizeZ="1" '
        'SizeT="1">'
        '<TiffData IFD="0" FirstC="0" PlaneCount="1"><UUID FileName="mine.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstC="1" PlaneCount="1"><UUID FileName="other.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    mine = tmp_path / "mine.tif"
    mine.write_bytes(written(u2([[1, 2]]), description=described, metadata=None))
    with pytest.raises(UnreadableImage, match="it has 1 band"):
        read(mine, (0, 255), channels=2)
    assert read(mine, (0, 255), bands=(1,)) == [1, 2]


def test_grey_is_the_luma_of_colours_as_pillow_has_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    assert read(encoded(image)) == np.asarray(image.convert("L")).ravel().tolist()
    grey = image.convert("L")
    assert read(encoded(grey)) == np.asarray(grey).ravel().tolist()


def test_transparency_is_a_band_where_bands_are_asked_for() -> None:
    four = np.random.default_rng(1).integers(0, 256, (3, 2, 4)).astype(np.uint8)
    assert read(encoded(Image.fromarray(four)), channels=4) == four.transpose(2, 0, 1).reshape(4, -1).tolist()


@pytest.mark.parametrize(
    ("file", "reading", "reason"),
    [
        (
            tiff(RGB[..., :2]),
            {"channels": 4},
            r"it has 2 bands, and data\.channels is 4; set data\.channels=2",
        ),
        (encoded(Image.new("RGB", (2, 2))), {"channels": 5}, "it has 3 bands"),
        (encoded(Image.new("L", (2, 2))), {"channels": 2}, "it has 1 band,"),
        (tiff(RGB), {"channels": 1, "bands": (4,)}, r"it has 3 bands, and data\.bands asks for band 4"),
    ],
)
def test_other_bands_than_asked_for(file: bytes, reading: dict, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        Picture(file, "a picture", None, Reading(**reading)).pixels()


def npy(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def test_numpy_files() -> None:
    values = (np.arange(2 * 20 * 30) * 7).astype(">u2").reshape(2, 20, 30)
    expected = np.rint(255.0 * values / 65535).reshape(2, -1).tolist()
    assert read(npy(values), channels=2) == expected
    assert read(npy(values.transpose(1, 2, 0)), channels=2) == expected
    assert read(npy(np.asfortranarray(values[0]))) == expected[0]
    assert read(npy(values[0])) == expected[0]
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    assert read(npy(colours), channels=3) == colours.transpose(2, 0, 1).reshape(3, -1).tolist()


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (npy(np.zeros(3)), r"float64 \(3,\)"),
        (npy(np.zeros((2, 2), complex)), "complex128"),
        (npy(np.array([[{}]]), allow_pickle=True), "object"),
        (npy(np.zeros((30, 30)))[:-1], "cut off"),
        (npy(np.zeros((30, 30))).replace(b"(30, 30)", b"(99999, 99999)"), "cut off|parse|header"),
    ],
)
def test_numpy_files_that_hold_no_picture(file: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        Picture(file, "an array").pixels()


@pytest.mark.parametrize("bits", [8, 10])
def test_heic(bits: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    values = np.random.default_rng(0).integers(0, 2**bits, (64, 48, 3)).astype("u2")
    mode, raw = ("RGB", values.astype("u1")) if bits == 8 else ("RGB;16", values << (16 - bits))
    file = io.BytesIO()
    heif.from_bytes(mode, (48, 64), raw.tobytes()).save(file, quality=90)
    found = Picture(file.getvalue(), "a photograph")
    assert (found.height, found.width) == (64, 48)
    theirs = np.asarray(heif.open_heif(file, convert_hdr_to_8bit=False)).astype(int)
    if theirs.max() > 255:
        own = int(heif.open_heif(file).info["bit_depth"])
        theirs = np.rint(255 * (theirs >> (16 - own)) / (2**own - 1))
    assert (found.pixels().permute(1, 2, 0).numpy() == theirs).all()


def test_jpeg_2000_of_several_wide_bands() -> None:
    codecs = pytest.importorskip("imagecodecs")
    values = (RGB // 4 + 3).repeat(8, 0).repeat(8, 1)
    file = codecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=10)
    found = np.array(read(file, channels=3)).reshape(3, 16, 24)[:, ::8, ::8].reshape(3, -1)
    assert found.tolist() == [
        [1, 46, 90, 135, 180, 225],
        [16, 61, 105, 150, 195, 240],
        [31, 76, 120, 165, 210, 255],
    ]


def cube(path: str) -> np.ndarray:
    return np.fromfile(path, np.uint8).reshape(2, 3, 2)


def wrong(path: str) -> object:
    return [1, 2, 3]


def raising(path: str) -> np.ndarray:
    raise KeyError("no such cube")


def flat(path: str) -> np.ndarray:
    return np.zeros(3)


def test_a_function_decodes(tmp_path: Path) -> None:
    file = tmp_path / "x.cube"
    file.write_bytes(bytes(range(12)))
    assert read(file, channels=2, decode=cube) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    for function, reason in (
        (wrong, r"wrong gave list, not an array \(H, W\) or \(H, W, C\)"),
        (raising, "raising raised KeyError: 'no such cube'"),
        (flat, r"flat gave float64 \(3,\)"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            Picture(file, "x", None, Reading(decode=function))
    with pytest.raises(UnreadableImage, match="it has 2 bands, which are not colours"):
        read(file, channels=3, decode=cube)
