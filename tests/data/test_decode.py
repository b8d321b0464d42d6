import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from selfsup.data.readers import decode as module
from selfsup.data.readers import tiff_numbers
from selfsup.data.readers.decode import Picture, UnreadableImage, decode

from .images import encoded, noise, pixels


def read(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    tensor = decode(encoded(image, kind, **options), "an image")
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert tensor.shape[0] == 3
    return tensor.numpy()


def test_colour_is_kept_exactly_from_bytes_and_from_a_path(tmp_path):
    image = noise(0, 5, 7)
    assert (read(image) == pixels(image)).all()
    image.save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", "a").numpy() == pixels(image)).all()
    assert (decode(str(tmp_path / "a.png"), "a").numpy() == pixels(image)).all()


def test_grey_is_replicated():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (read(Image.fromarray(grey)) == grey[None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_to_8(kind):
    wide = np.array([[0, 257, 128 * 257, 65535, 128, 129]], dtype=np.uint16)
    assert read(Image.fromarray(wide), kind)[0].tolist() == [[0, 1, 128, 255, 0, 1]]


def test_grey_of_floats_is_read_within_0_and_1_and_refused_beyond():
    assert read(Image.fromarray(np.array([[0.0, 0.2, 1.0]], np.float32)), "TIFF")[0].tolist() == [
        [0, 51, 255]
    ]
    for value in (1.5, -0.1, np.nan):
        with pytest.raises(UnreadableImage, match="grey values"):
            read(Image.fromarray(np.array([[value]], np.float32)), "TIFF")


def test_black_and_white():
    assert read(Image.fromarray(np.array([[True, False]])))[0].tolist() == [[255, 0]]


def test_transparency_lies_on_white():
    colours = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    # 51 / 255 = 0.2: 0.2 * colour + 0.8 * 255
    expected = [[[200, 255, 244]], [[100, 255, 224]], [[0, 255, 204]]]
    assert read(Image.fromarray(colours)).tolist() == expected


def test_transparency_of_grey_and_of_palettes_lies_on_white():
    grey = np.array([[[10, 255], [10, 0]]], np.uint8)
    assert read(Image.fromarray(grey, "LA"))[:, 0].tolist() == [[10, 255]] * 3
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 255, 9, 8, 7])
    palette.putdata([0, 1])
    assert read(palette)[:, 0].tolist() == [[0, 9], [0, 8], [255, 7]]
    assert read(palette, transparency=1)[:, 0].tolist() == [[0, 255], [0, 255], [255, 255]]
    assert read(Image.new("RGB", (1, 1), (0, 0, 9)), transparency=(0, 0, 9))[:, 0, 0].tolist() == [255] * 3


def test_cmyk_jpeg_looks_as_its_rgb_original():
    colour = Image.new("RGB", (16, 16), (220, 40, 60))
    got = read(colour.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(got.astype(int) - np.array([220, 40, 60])[:, None, None]).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_is_undone(orientation, kind):
    upright = np.array([[0, 80, 160], [250, 210, 120]], np.uint8).repeat(16, 0).repeat(16, 1)
    # How a sensor stores the upright scene, by the definition of each value: which side is row 0, column 0.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: a.T[::-1],
        7: lambda a: a.T[::-1, ::-1],
        8: lambda a: a.T[:, ::-1],
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    picture = Picture(encoded(image, kind, exif=exif), "turned")
    assert (picture.height, picture.width) == (32, 48)
    assert picture.pixels(2).shape == ((3, 16, 24) if kind == "JPEG" else (3, 32, 48))
    got = read(image, kind, exif=exif)
    assert got.shape == (3, 32, 48)
    assert np.abs(got[0].astype(int) - upright).max() < 12


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    got = read(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert got[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_truncated_files_are_unreadable(kind):
    whole = encoded(noise(1, 64, 64), kind)
    with pytest.raises(UnreadableImage) as caught:
        decode(whole[: len(whole) // 2], "half\nan image")
    assert caught.value.name == "half\nan image"
    assert caught.value.reason
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF"])
def test_damaged_files_are_read_or_unreadable_and_nothing_else(kind):
    whole = encoded(noise(1, 24, 24), kind)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 4):
            damaged[place] = random.integers(256)
        try:
            assert decode(bytes(damaged), "damaged").shape[0] == 3
        except UnreadableImage:
            refused += 1
    assert refused > 0


def test_what_is_no_image(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    reasons = {
        "empty.png": "empty",
        "text.png": "not an image",
        "broken.png": "broken link",
        "absent.png": "no such file",
        ".": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImage, match=reason):
            decode(tmp_path / name, name)
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"", "nothing")


def test_no_warning_of_a_picture_that_is_large_and_read(tmp_path):
    Image.new("1", (9_500, 9_500)).save(tmp_path / "large.png")
    lines = "from selfsup.data.readers.decode import Picture\n"
    lines += "print(Picture('large.png', 'large').pixels(8).shape[0])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("3\n", "")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused(monkeypatch):
    bomb = encoded(Image.new("L", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30 // 2)
    assert decode(bomb, "just within").shape == (3, 30, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30 // 2 - 1)
    with pytest.raises(UnreadableImage, match="pixels"):
        decode(bomb, "bomb")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    ("shrink", "factor"), [(0.3, 1), (1.9, 1), (2, 2), (3.9, 2), (4, 4), (8, 8), (99, 8)]
)
def test_a_jpeg_is_decoded_no_smaller_than_asked(mode, shrink, factor):
    whole = encoded(noise(0, 161, 98).resize((98, 161)).convert(mode), "JPEG")
    picture = Picture(whole, "photo")
    assert (picture.height, picture.width) == (161, 98)
    small = picture.pixels(shrink)
    assert small.shape == (3, -(-161 // factor), -(-98 // factor))
    full = decode(whole, "photo").float()
    assert abs(small.float().mean() - full.mean()) < 3


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16", "F", "turned", "made"])
def test_the_part_around_some_boxes_is_cut_from_the_whole(mode):
    image = noise(0, 60, 40)
    if mode == "made":
        file = torch.from_numpy(pixels(image).copy())
    elif mode == "turned":
        exif = Image.Exif()
        exif[274] = 6
        file = encoded(image, "JPEG", exif=exif)
    elif mode in ("I;16", "F"):
        values = np.random.default_rng(0).random((60, 40), dtype=np.float32)
        file = encoded(Image.fromarray(values if mode == "F" else (65535 * values).astype(np.uint16)), "TIFF")
    else:
        file = encoded(image.convert(mode), "TIFF")
    whole = decode(file, "whole") if mode != "made" else file
    boxes = [[7, 3, 20, 10], [15, 8, 12, 25], [30, 5, 3, 1]]
    part, inside = Picture(file, "part").around(boxes)
    assert part.shape[1:] == (whole.shape[1:] if mode == "made" else (26, 30))
    part = part[:3]  # the rest is PIL's padding
    for (top, left, height, width), (y, x, h, w) in zip(boxes, inside, strict=True):
        assert (h, w) == (height, width)
        assert torch.equal(part[:, y : y + h, x : x + w], whole[:, top : top + height, left : left + width])


@pytest.mark.parametrize("size", [(40, 60), (1, 1), (2000, 2500)])
def test_pixels_are_those_of_pil_and_outlive_its_image(size):
    image = noise(5, 50, 50).resize(size)
    file = encoded(image, "BMP")
    boxes = [[size[1] // 4, size[0] // 3, size[1] - size[1] // 2, size[0] - size[0] // 2]]
    whole, (part, _) = Picture(file, "photo").pixels(), Picture(file, "photo").around(boxes)
    for _ in range(20):  # what was freed would be taken by these
        Image.new("RGB", size, "red")
    assert (whole.numpy() == pixels(image)).all()
    top, left, height, width = boxes[0]
    assert (part[:3].numpy() == pixels(image)[:, top : top + height, left : left + width]).all()


def test_huge_images_are_shrunk_and_converted_in_strips_to_what_small_ones_are(monkeypatch):
    image = noise(3, 60, 40).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((40, 60)))
    palette = noise(4, 33, 21).convert("P")
    expected = [decode(encoded(one), "small") for one in (image, palette)]
    monkeypatch.setattr(module, "LARGE", 100)
    for one, pixels_of_one in zip((image, palette), expected, strict=True):
        assert (decode(encoded(one), "huge") == pixels_of_one).all()
    opaque = noise(3, 60, 40)
    shrunk = Picture(encoded(opaque), "huge").pixels(2.9)
    means = decode(encoded(opaque), "huge").float().unflatten(1, (30, 2)).unflatten(3, (20, 2)).mean((2, 4))
    assert (shrunk - means).abs().max() <= 0.5


def test_a_picture_of_100_megapixels_needs_little_memory(tmp_path):
    """A JPEG is decoded an eighth as large; a PNG needs what PIL needs to hold it, and no copy of that."""
    code = """
import resource, sys, warnings
from selfsup.data.readers.decode import Picture
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
before = peak()
print(Picture(sys.argv[1], "large").pixels(30).shape[1], peak() - before)
"""
    for kind, side, most in (("JPEG", 1250, 60), ("PNG", 333, 500)):
        Image.new("RGB", (10_000, 10_000), "red").save(tmp_path / "large", kind)
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "large")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        height, mebibytes = done.stdout.split()
        assert abs(int(height) - side) <= 1
        assert float(mebibytes) < most


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header has another size."""
    at = next(place for place in range(len(jpeg)) if jpeg[place : place + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return jpeg[: at + 5] + height.to_bytes(2) + width.to_bytes(2) + jpeg[at + 9 :]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_that_is_too_large_comes_out_smaller_and_other_images_name_a_remedy(monkeypatch):
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    whole = decode(encoded(image, "JPEG", quality=95), "whole").float()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 320 * 240 // 3)
    picture = Picture(encoded(image, "JPEG", quality=95), "large")
    assert (picture.height, picture.width) == (240, 320)
    half = picture.pixels()
    assert half.shape == (3, 120, 160)
    assert (half - whole.unflatten(1, (120, 2)).unflatten(3, (160, 2)).mean((2, 4))).abs().max() < 4
    part, boxes = Picture(encoded(image, "JPEG"), "large").around([[100, 40, 60, 80]])
    assert (part.shape[1:], boxes) == ((30, 40), [[0, 0, 30, 40]])
    for file, reason in (
        (encoded(image, "PNG"), r"megapixels, more than the .*magick FILE -crop .*-resize"),
        (encoded(image, "JPEG", progressive=True), "baseline JPEG"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            decode(file, "large")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "packed strips"])
def test_a_tiff_that_is_too_large_keeps_one_in_two_rows_and_columns(monkeypatch, layout):
    values = np.random.default_rng(0).integers(0, 2**16, (963, 321, 3), dtype=np.uint16)
    eight = layout == "strips"
    values = (values >> 8).astype(np.uint8) if eight else values
    written, settings = values, {"photometric": "rgb", "rowsperstrip": 7}
    if layout == "tiles":
        settings = {"photometric": "rgb", "tile": (48, 32), "compression": "zlib", "predictor": True}
    if layout == "planes":
        written, settings = np.moveaxis(values, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}
    if layout == "packed strips":
        settings |= {"compression": "zlib"}
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(written), **settings)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 963 * 321 // 3)
    monkeypatch.setattr(tiff_numbers, "AT_ONCE", 2**16)  # so that there are several blocks
    picture = Picture(buffer.getvalue(), "map", (0, 255) if eight else (0, 65535))
    assert (picture.height, picture.width) == (963, 321)
    scale = 1 if eight else 255 / 65535
    expected = np.rint(values[::2, ::2] * scale).transpose(2, 0, 1)
    assert np.array_equal(picture.pixels().numpy(), expected)
    part, boxes = Picture(buffer.getvalue(), "map", (0, 65535)).around([[100, 40, 60, 80]])
    assert boxes == [[0, 0, 30, 40]]
    assert part.shape[1:] == (30, 40)


def test_a_jpegs_header_is_believed_no_more_than_its_length_allows():
    short = encoded(Image.new("L", (16, 16)), "JPEG")
    for width, height in ((60_000, 60_000), (30_000, 30_000), (65_535, 4_000)):
        with pytest.raises(UnreadableImage, match="megapixels"):
            decode(claiming(short, width, height), "bomb")


def test_a_tiff_without_rows_has_no_pixels() -> None:
    """Pillow opens it, and its header says so."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    entry = content.index(struct.pack("<HHI", 257, 4, 1))  # ImageLength, LONG, one value
    content[entry + 8 : entry + 12] = bytes(4)
    with pytest.raises(UnreadableImage, match="it has no pixels"):
        Picture(bytes(content), "flat")
