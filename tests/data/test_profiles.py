"""Colours with an embedded profile, and those that are sRGB whatever they say."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from selfsup.data.readers.decode import Picture, decode

from .images import encoded, noise, pixels

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


def profile(space: bytes, curve: float | list[float], primaries=()) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04): primaries as XYZ under D50, a curve to linear light."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))

    table = [round(256 * curve)] if isinstance(curve, float) else [round(65535 * value) for value in curve]
    tone = b"curv" + bytes(4) + struct.pack(f">I{len(table)}H", len(table), *table)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"x\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
    }
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=False):
        tags[name] = b"XYZ " + bytes(4) + fixed(*xyz)
    for name in (b"rTRC", b"gTRC", b"bTRC") if primaries else (b"kTRC",):
        tags[name] = tone
    start = 132 + 12 * len(tags)
    index, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        index += name + struct.pack(">II", start + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(content), 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + struct.pack(">I", 1)
    return (head + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + index + content


def linear(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def coded(value: np.ndarray) -> np.ndarray:
    value = value.clip(0, 1)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


CURVE = linear(np.linspace(0, 1, 1024)).tolist()
P3 = profile(b"RGB ", CURVE, DISPLAY_P3)
SRGB_TABLE = profile(b"RGB ", CURVE, SRGB)
GREY = profile(b"GRAY", 1.0)


def in_srgb(image: Image.Image) -> np.ndarray:
    """Display P3 in sRGB by the definitions of both: (3, H, W) in 0..255, not rounded."""
    change = np.linalg.inv(np.array(SRGB).T) @ np.array(DISPLAY_P3).T
    return 255 * coded(np.einsum("ij,jhw->ihw", change, linear(pixels(image) / 255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_of_display_p3_are_brought_to_srgb(kind):
    image = noise(0, 20, 30)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encoded(image, kind, icc_profile=P3, **options), "photo").numpy()
    assert np.abs(found - in_srgb(image)).max() < 1.6
    assert np.abs(pixels(image) - in_srgb(image)).mean() > 5  # what it would be to leave them


def test_parts_strips_and_smaller_jpegs_have_the_same_colours(monkeypatch):
    image = Image.new("RGB", (64, 48), (200, 40, 60))
    expected = in_srgb(image)[:, :1, :1]
    file = encoded(image, "JPEG", quality=100, icc_profile=P3)
    for tensor in (
        Picture(file, "a").pixels(),
        Picture(file, "a").pixels(4),
        Picture(file, "a").around([[8, 8, 16, 16]])[0][:3],
    ):
        assert np.abs(tensor.numpy() - expected).max() < 3
    noisy = encoded(noise(1, 40, 30), icc_profile=P3)
    small = decode(noisy, "small")
    monkeypatch.setattr("selfsup.data.readers.rgb.LARGE", 100)
    assert torch.equal(decode(noisy, "large"), small)


@pytest.mark.parametrize(
    "srgb", [SRGB_TABLE, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()]
)
def test_srgb_stays_as_it_is_to_the_bit_and_is_not_copied(srgb):
    image = noise(2, 20, 30)
    for kind in ("PNG", "JPEG"):
        plain, tagged = (encoded(image, kind, **options) for options in ({}, {"icc_profile": srgb}))
        assert torch.equal(decode(tagged, "tagged"), decode(plain, "plain"))
        part, _ = Picture(tagged, "tagged").around([[0, 0, 20, 30]])
        assert len(part) == 4  # in PIL's own memory


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "LA", "CMYK"])
def test_a_damaged_profile_or_one_of_other_colours_is_left_aside(mode):
    image = noise(3).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    expected = decode(encoded(image, kind), "plain")
    for wrong in (b"no profile", P3[:200], P3[:128] + bytes(400), GREY if mode not in ("L", "LA") else P3):
        assert torch.equal(decode(encoded(image, kind, icc_profile=wrong), "wrong"), expected)


def test_grey_transparency_and_palettes():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    expected = 255 * coded(pixels(grey.convert("RGB")) / 255)
    found = decode(encoded(grey, icc_profile=GREY), "linear light").numpy()
    assert np.abs(found - expected)[:, 1:].max() < 1.6  # the tables of 8 bits are coarse near black
    image = noise(4)
    clear = image.copy()
    clear.putalpha(Image.fromarray(np.where(np.eye(8), 0, 255).astype(np.uint8)))
    found = decode(encoded(clear, icc_profile=P3), "glass").numpy()
    assert np.abs(found - np.where(np.eye(8), 255, in_srgb(image))).max() < 1.6
    few = image.quantize(16)
    found = decode(encoded(few, icc_profile=P3), "palette").numpy()
    assert np.abs(found - in_srgb(few.convert("RGB"))).max() < 1.6


def test_a_range_holds_for_what_the_profile_gives():
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    assert decode(encoded(grey, icc_profile=P3), "grey", (50, 150))[:, 0, 0].tolist() == [128] * 3


def test_cielab_is_read():
    lab = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (255, 128, 128)])
    assert decode(encoded(lab, "TIFF"), "white").min() >= 253
