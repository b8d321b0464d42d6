"""From stored numbers to 8 bits: the range of a data set, and files of which Pillow makes something else."""

import re
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.data.readers.decode import Picture, UnreadableImage, decode
from selfsup.data.readers.tally import Tally
from selfsup.data.readers.values import Kind, Stored, in_words, range_of
from selfsup.errors import UsageError

from .images import encoded
from .tiffs import tiff

CAMERA = np.add.outer(np.arange(16), 16 * np.arange(16)).astype(np.uint8)  # every byte once


def read(file: bytes, range: tuple[float, float] | None = None) -> list:
    """Of grey one channel's rows, of colours three."""
    pixels = decode(file, "an image", range)
    assert pixels.dtype == torch.uint8
    return (pixels[0] if (pixels == pixels[:1]).all() else pixels).tolist()


def rounded(value: Fraction) -> int:
    """Half to even, in whole numbers."""
    return round(min(max(value, Fraction(0)), Fraction(1)) * 255)


def png(numbers: np.ndarray, colours: int) -> bytes:
    """A 16-bit PNG, whose colour type says whether there are colours (2) and transparency (4)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = numbers.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


WORDS = (CAMERA.astype(np.uint16) * 16)[..., None]
COLOURS = np.concatenate([WORDS, WORDS[::-1], WORDS[:, ::-1]], axis=2)
FOURFOLD = {
    "png": encoded(Image.fromarray(WORDS[..., 0])),
    "png of a colour": png(WORDS.repeat(3, 2), 2),
    "pgm": b"P5 16 16 65535\n" + WORDS.astype(">u2").tobytes(),
    "pgm of 12 bits": b"P5 16 16 4095\n" + WORDS.astype(">u2").tobytes(),
    "ppm of 12 bits": b"P6 16 16 4095\n" + WORDS.repeat(3, 2).astype(">u2").tobytes(),
    "pgm in text": b"P2 16 16 4095\n" + " ".join(map(str, WORDS.ravel())).encode(),
    "jp2": encoded(Image.fromarray(WORDS[..., 0]), "JPEG2000"),
    "tiff": tiff(WORDS),
    "tiff of Motorola": tiff(WORDS, order=">"),
    "tiff in strips": tiff(WORDS, rows=5),
    "tiff in tiles": tiff(WORDS, tile=16, packing=8),
    "tiff in colours": tiff(WORDS.repeat(3, 2), 2),
    "tiff of planes": tiff(WORDS.repeat(3, 2), 2, planar=True, rows=7),
    "tiff of differences": tiff(WORDS.repeat(3, 2), 2, packing=8, predictor=2, order=">"),
    "tiff of 12 bits": tiff(WORDS, bits=12),
    "tiff of 14 bits": tiff(WORDS, bits=14, order=">"),
    "tiff of signed": tiff(WORDS.astype(np.int16)),
    "tiff of 32 bits": tiff(WORDS.astype(np.uint32), order=">"),
    "tiff of 64 bits": tiff(WORDS.astype(np.int64)),
    "tiff of floats": tiff(WORDS.astype(np.float32)),
    "tiff of halves": tiff(WORDS.astype(np.float16), order=">"),
    "tiff of doubles": tiff(WORDS.astype(np.float64), packing=8, predictor=3),
    "tiff with white as 0": tiff(4080 - WORDS, 0),
    "tiff of floats with white as 0": tiff(4080 - WORDS.astype(np.float32), 0),
}


@pytest.mark.parametrize("kind", FOURFOLD)
def test_one_range_gives_the_same_bytes_of_every_file(kind):
    assert read(FOURFOLD[kind], (0, 4080)) == CAMERA.tolist()


@pytest.mark.parametrize("options", [{}, {"planar": True}, {"tile": 16}, {"packing": 8, "predictor": 2}])
def test_three_colours_of_16_bits(options):
    assert read(tiff(COLOURS, 2, **options), (0, 4080)) == (COLOURS // 16).transpose(2, 0, 1).tolist()
    assert read(png(COLOURS, 2), (0, 4080)) == (COLOURS // 16).transpose(2, 0, 1).tolist()


def test_without_a_range_16_bit_colours_are_what_16_bit_greys_are():
    wide = np.array([[[0, 257, 65535], [128, 129, 385]]], np.uint16)
    expected = [[[0, 0]], [[1, 1]], [[255, 1]]]
    assert read(png(wide, 2)) == read(tiff(wide, 2)) == expected
    assert [read(encoded(Image.fromarray(wide[..., band])))[0] for band in range(3)] == [
        band[0] for band in expected
    ]


@pytest.mark.parametrize(
    ("numbers", "range", "expected"),
    [
        (np.array([[1, 3, 5, 509, 510, 511]], np.uint16), (0, 510), [0, 2, 2, 254, 255, 255]),  # ties
        (np.array([[-2000, -1000, -160, 40, 240, 3000]], np.int16), (-160, 240), [0, 0, 0, 128, 255, 255]),
        (np.array([[np.nan, -1, 0, 2.5, 10, 12]], np.float32), (0, 10), [0, 0, 0, 64, 255, 255]),
        (np.array([[-np.inf, np.inf, 10, 5]], np.float64), (0, 10), [0, 0, 255, 128]),
        (np.array([[-1, -0.5, 0, 0.25, 0.999, 1]]), (-1, 1), [0, 64, 128, 159, 255, 255]),
        (np.array([[0, 2**31 - 1, 2**31, 3 * 10**9, 2**32 - 1]], np.uint32), None, [0, 127, 128, 178, 255]),
        (np.array([[-32768, 0, 32767]], np.int16), None, [0, 128, 255]),
        (np.array([[-128, 0, 127]], np.int8), None, [0, 128, 255]),
        (np.array([[0, 20, 50, 100]], np.uint8), (20, 80), [0, 0, 128, 255]),
    ],
)
def test_values_are_mapped_linearly_and_clipped(numbers, range, expected):
    assert read(tiff(numbers), range) == [expected]
    assert read(tiff(numbers, order=">", packing=8), range) == [expected]


def test_rounding_is_that_of_whole_numbers():
    numbers = np.arange(0, 1000, dtype=np.uint16).reshape(10, 100)
    for low, high in ((0, 510), (100, 900), (7, 134), (-300, 1234)):
        expected = [[rounded(Fraction(int(v) - low, high - low)) for v in row] for row in numbers]
        assert read(tiff(numbers), (low, high)) == expected
        assert read(tiff(numbers.astype(np.float32)), (low, high)) == expected
        inverted = [[rounded(Fraction(high - int(v), high - low)) for v in row] for row in numbers]
        assert read(tiff(numbers, 0), (low, high)) == inverted


def test_a_tiff_that_declares_its_bits_uses_them_without_a_range():
    numbers = np.array([[0, 585, 1170, 2048, 3510, 4095]], np.uint16)
    expected = [[0, 36, 73, 128, 219, 255]]
    assert read(tiff(numbers, bits=12)) == expected
    assert read(tiff(numbers, tags={280: (3, [0]), 281: (3, [4095])})) == expected
    # What the brightest pixel is says nothing about the type.
    assert read(tiff(numbers, tags={281: (3, [4000])}))[0][-1] == 16
    ten = np.array([[0, 100, 511, 512, 1000, 1023]], np.uint16)
    assert read(tiff(ten, 0, bits=10)) == [[255, 230, 128, 127, 6, 0]]
    assert Picture(tiff(ten, bits=10), "ten").pixels().shape == (3, 1, 6)


def test_white_as_zero_of_16_bits_is_inverted_as_that_of_8():
    numbers = np.array([[0, 257, 1000, 32768, 65000, 65535]], np.uint16)
    assert read(tiff(numbers, 0)) == [[255, 254, 251, 127, 2, 0]]
    assert read(tiff(CAMERA, 0)) == (255 - CAMERA).tolist()
    assert read(tiff(CAMERA, 0), (0, 100)) == read(tiff(CAMERA.astype(np.uint16), 0), (0, 100))


def test_no_data_is_black_and_not_measured():
    numbers = np.array([[-9999, 0, 100, 200, 300, 400]], np.int16)
    file = tiff(numbers, tags={42113: (2, b"-9999\0")})
    assert read(file, (0, 400)) == [[0, 0, 64, 128, 191, 255]]
    assert read(tiff(400 - numbers.clip(0), 0, tags={42113: (2, b"400\0")}), (0, 400)) == [
        [0, 0, 64, 128, 191, 255]
    ]
    least = np.float32(-3.4028234663852886e38)
    floats = np.array([[least, 0.25, 0.5, 0.75, 1, 2]], np.float32)
    file = tiff(floats, tags={42113: (2, b"-3.4028234663852886e+38\0")})
    assert read(file, (0, 1)) == [[0, 64, 128, 191, 255, 255]]
    picture = Picture(file, "floats", (0, 1))
    picture.pixels()
    tally = Tally()
    tally.add(picture.stored)
    assert tally.extent(Kind("float", 0, 1)) == (0.25, 2)


def test_floats_without_a_range_are_within_0_and_1_and_holes_in_them_black():
    assert read(tiff(np.array([[np.nan, 0.2, 1]], np.float32))) == [[0, 51, 255]]
    for numbers in ([[0.5, 1.5]], [[-0.1, 0]], [[np.nan, np.nan]]):
        with pytest.raises(UnreadableImage, match=r"set data\.range"):
            decode(tiff(np.array(numbers, np.float32)), "floats")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bits(orientation):
    numbers = np.arange(6, dtype=np.uint16).reshape(2, 3) * 50
    exif = Image.Exif()
    exif[274] = orientation
    upright = read(encoded(Image.fromarray(numbers.astype(np.uint8)), "PNG", exif=exif))
    assert read(encoded(Image.fromarray(numbers), "PNG", exif=exif), (0, 255)) == upright
    eight = encoded(Image.fromarray(numbers.astype(np.uint8)), "TIFF", tiffinfo={274: orientation})
    picture = Picture(tiff(numbers, tags={274: (3, [orientation])}), "turned", (0, 255))
    expected = decode(eight, "turned")
    assert (picture.height, picture.width) == expected.shape[1:]
    assert (picture.pixels() == expected).all()


def test_pixels_given_as_numbers():
    grey = torch.from_numpy(WORDS[..., 0].copy())[None]
    assert (Picture(grey, "grey", (0, 4080)).pixels()[1].numpy() == CAMERA).all()
    colours = torch.from_numpy(CAMERA).expand(3, -1, -1)
    assert Picture(colours, "colours").pixels() is colours
    half = Picture(colours, "colours", (0, 510)).pixels()
    assert half[0].tolist() == [[rounded(Fraction(int(v), 510)) for v in row] for row in CAMERA]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK"])
def test_a_range_of_8_bits(mode):
    image = Image.fromarray(CAMERA).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    expected = [[rounded(Fraction(int(v) - 20, 60)) for v in row] for row in CAMERA]
    assert read(encoded(image, kind), (20, 80)) == expected
    whole, (part, [box]) = (
        decode(encoded(image, kind), "a", (20, 80)),
        Picture(encoded(image, kind), "a", (20, 80)).around([[3, 2, 5, 7]]),
    )
    assert (part[:3, : box[2], : box[3]] == whole[:, 3:8, 2:9]).all()


def test_what_is_clear_lies_on_white_whatever_the_range():
    colours = np.zeros((1, 3, 4), np.uint16)
    colours[0, :, 0] = 2040
    colours[0, :, 3] = [65535, 0, 13107]  # opaque, clear, a fifth
    expected = [[[128, 255, 230]], [[0, 255, 204]], [[0, 255, 204]]]
    assert read(png(colours, 6), (0, 4080)) == expected
    assert read(tiff(colours, 2, extra=[2]), (0, 4080)) == expected
    grey = colours[..., [0, 3]]
    assert read(png(grey, 4), (0, 4080)) == read(tiff(grey, extra=[2]), (0, 4080)) == [[128, 255, 230]]


NEAR_INFRARED = np.stack([CAMERA, CAMERA[::-1], CAMERA[:, ::-1], CAMERA.T // 2], axis=2)


@pytest.mark.parametrize("extra", [None, [0], [1], [2]])
@pytest.mark.parametrize("options", [{}, {"planar": True}, {"packing": 8}, {"tile": 16}])
def test_a_fourth_band_of_values_is_no_transparency(extra, options):
    picture = Picture(tiff(NEAR_INFRARED, 2, extra=extra, **options), "map")
    assert (picture.pixels().numpy() == NEAR_INFRARED[..., :3].transpose(2, 0, 1)).all()
    assert picture.bands.startswith("4 bands of uint8 (the ")
    assert not Picture(encoded(Image.fromarray(CAMERA)), "grey").bands


def test_a_fourth_band_of_water_is_no_transparency_and_neither_is_that_of_a_map():
    dark = NEAR_INFRARED.copy()
    dark[..., 3] = 0
    dark[0, 0, 3] = 3
    assert (decode(tiff(dark, 2, extra=[2]), "lake").numpy() == dark[..., :3].transpose(2, 0, 1)).all()
    cut = NEAR_INFRARED.copy()
    cut[..., 3] = np.where(CAMERA > 99, 255, 0)
    georeferenced = {33550: (12, [10.0, 10.0, 0.0])}
    assert (
        decode(tiff(cut, 2, extra=[2], tags=georeferenced), "map").numpy().transpose(1, 2, 0) == cut[..., :3]
    ).all()
    cut_out = Picture(tiff(cut, 2, extra=[2]), "cut out")
    pixels = cut_out.pixels().numpy().transpose(1, 2, 0)
    assert (pixels == np.where(cut[..., 3:] == 255, cut[..., :3], 255)).all()
    assert not cut_out.bands


def test_a_fourth_band_of_jpeg_2000_and_transparency_in_a_png():
    four = Image.fromarray(NEAR_INFRARED)
    picture = Picture(encoded(four, "JPEG2000", irreversible=False), "four")
    assert (picture.pixels().numpy() == NEAR_INFRARED[..., :3].transpose(2, 0, 1)).all()
    assert "4 bands" in picture.bands
    assert (
        decode(encoded(four), "glass").float().mean() > 190
    )  # of a PNG it is transparency, whatever it holds


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_beside_the_first_are_named(dtype):
    bands = np.arange(2 * 3 * 13).reshape(2, 3, 13)
    with pytest.raises(UnreadableImage, match=rf"13 bands of {np.dtype(dtype)}; only 1 to 4 bands"):
        Picture(tiff(bands.astype(dtype), extra=[0] * 12), "satellite")
    two = Picture(tiff(bands[..., :2].astype(dtype), extra=[0]), "two", (0, 255))
    assert two.pixels()[0].tolist() == bands[..., 0].tolist()
    assert two.bands == f"2 bands of {np.dtype(dtype)} (the first used as grey)"
    four = Picture(tiff(bands[..., :4].astype(dtype), extra=[0, 0, 0]), "four", (0, 255))
    assert four.pixels().tolist() == bands[..., :3].transpose(2, 0, 1).tolist()
    assert "the first three used as red, green and blue" in four.bands


def test_what_is_not_read_says_why():
    words = WORDS[:2, :2].copy()
    for file, reason in (
        (tiff(words.repeat(4, 2), 5), "4 bands of uint16 as photometry 5"),
        (tiff(words, tags={259: (3, [34887])}), "LERC"),  # its library, or that it is missing
        (tiff(words, tags={339: (3, [6])}), "other numbers"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            decode(file, "odd")


def test_damaged_tiffs_of_words_are_read_or_unreadable():
    random = np.random.default_rng(0)
    for whole in (tiff(COLOURS, 2, packing=8, rows=4), tiff(WORDS, tile=16), tiff(WORDS, bits=12)):
        refused = 0
        for place in [*range(0, len(whole) - 1, 97), *random.integers(0, len(whole), 60).tolist()]:
            for damaged in (
                whole[:place],
                whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :],
            ):
                try:
                    assert decode(damaged or b"x", "damaged", (0, 4080)).shape[0] == 3
                except UnreadableImage:
                    refused += 1
        assert refused > 10


def test_a_header_of_a_few_bytes_is_not_believed():
    for claim in ({256: (4, [60_000]), 257: (4, [60_000])}, {256: (4, [2**32 - 1])}, {277: (3, [60_000])}):
        for numbers in (WORDS, WORDS.astype(np.float64)):
            with pytest.raises(UnreadableImage):
                decode(tiff(numbers[:2, :2], tags=claim), "bomb", (0, 1))


def test_pages_and_frames():
    assert Picture(tiff(WORDS, pages=5), "stack").pages() == "5 pages"
    assert Picture(tiff(CAMERA, pages=2), "two").pages() == "2 pages"
    assert Picture(tiff(WORDS), "one").pages() == ""
    assert Picture(tiff(WORDS, pages=4, tags={254: (4, [1])}), "smaller copies").pages() == ""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        assert Picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), "a").pages() == (
            "several frames"
        )
        assert Picture(encoded(frames[0], kind), "a").pages() == ""
    circle = bytearray(tiff(WORDS))
    end = len(circle) - 4
    circle[end:] = circle[4:8]  # the directory is its own successor
    assert Picture(bytes(circle), "circle").pages() == ""


def test_ranges_that_are_none():
    for wrong in (
        [1],
        [1, 2, 3],
        [2, 1],
        [1, 1],
        ["a", 2],
        "wide",
        7,
        [0, float("inf")],
        [True, 2],
        [None, 1],
    ):
        with pytest.raises(UsageError, match=r"data\.range"):
            range_of(wrong)
    assert (range_of(None), range_of("auto"), range_of([0, 4095])) == (None, "auto", (0, 4095))
    assert in_words((-0.25, 4095.0)) == "[-0.25,4095]"


def tallied(*images: np.ndarray) -> Tally:
    tally = Tally()
    for each in images:
        picture = Picture(tiff(each), "counted", (0, 1))
        picture.pixels()
        tally.add(picture.stored or Stored(each, Kind("8-bit", 0, 255)))
    return tally


def test_a_measured_range_passes_over_a_few_values():
    random = np.random.default_rng(0)
    images = [random.integers(7301, 8207, (100, 100)).astype(np.uint16) for _ in range(3)]
    low, high = tallied(*images).range()
    assert isinstance(low, int)
    assert 7301 <= low <= 7303
    assert 8204 <= high <= 8206
    images[0][0, 0] = 65535
    assert tallied(*images).range()[1] <= 8206
    stars = np.zeros((100, 100), np.uint16)
    stars[3, 3] = 900
    assert tallied(stars).range() == (0, 900)
    assert tallied(stars * 0).range() is None
    assert tallied(np.array([[0.25, 0.75, np.nan]], np.float32)).range() == (0.25, 0.75)


@pytest.mark.parametrize(
    ("ends", "dtype", "sentence"),
    [
        (
            (7301, 8206),
            np.uint16,
            r"16-bit images use values from 7301 to 8206 of 0 to 65535; set data\.range=\[7301,8206\], "
            r"or data\.range=auto, or data\.range=\[0,65535\]",
        ),
        ((0, 21844), np.uint16, "16-bit"),
        ((0, 21846), np.uint16, None),
        ((0, 31), np.uint8, "8-bit images use values from 0 to 31 of 0 to 255"),
        ((0, 32), np.uint8, None),
        ((200, 255), np.uint8, None),
        ((-160, 3000), np.int16, "signed 16-bit images use values from -160 to 3000 of -32768 to 32767"),
        ((0, 3000), np.int32, "signed 32-bit"),
        ((0.5, 0.6), np.float32, "float images use values from 0.5 to 0.6 of 0 to 1"),
        ((0, 3.5), np.float32, "float images use values from 0 to 3.5 of 0 to 1"),
        ((-0.5, 1), np.float64, "float"),
        ((0, 0.9), np.float32, None),
        ((5, 5), np.uint16, None),
    ],
)
def test_a_small_part_of_a_types_range_is_a_sentence(ends, dtype, sentence):
    found = tallied(np.linspace(*ends, 100).astype(dtype).reshape(10, 10)).problem()
    assert (found is None) == (sentence is None)
    if sentence:
        assert re.search(sentence, found)


def test_a_defective_pixel_hides_no_small_part_and_a_bright_point_is_a_use_of_8_bits():
    dark = np.tile(np.arange(1000, dtype=np.uint16), (10, 1))
    dark[0, 0] = 65535
    assert "16-bit images use values from 1 to 999 of 0 to 65535 but for 0.1 %" in tallied(dark).problem()
    point = np.zeros((100, 100), np.uint8)
    point[5, 5] = 200
    assert tallied(point).problem() is None


def test_a_range_beside_the_values_is_a_sentence():
    eight = tallied(CAMERA)
    assert eight.outside((0, 255)) is eight.outside((100, 300)) is None
    assert "all black" in eight.outside((7301, 8206))
    assert "all white" in eight.outside((-9, 0))
    assert tallied(CAMERA * 0).outside((0, 255)) is None
