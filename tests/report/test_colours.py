"""The colours of reports and contact sheets can be told apart without all cones, and texts read."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import selfsup.report
from selfsup.run.contact_sheet import COLOURS

CSS = (Path(selfsup.report.__path__[0]) / "page" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): #(\w+)", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
)
TEXTS, GROUNDS = ("ink", "soft", "link", "good", "bad", "mixed"), ("paper", "tint")
# Linear RGB as seen without one kind of cone: Machado et al. 2009, severity 1.
SIGHTS = {
    "all cones": np.eye(3),
    "no L cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no M cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no S cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    """sRGB ``rgb`` or ``rrggbb`` as linear RGB in [0, 1]."""
    text = colour.lstrip("#")
    text = "".join(2 * digit for digit in text) if len(text) == 3 else text
    value = np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB, white being D65."""
    ratio = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG 2: from 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("sight", list(SIGHTS))
@pytest.mark.parametrize(
    "colours",
    [[theme[f"c{i}"] for i in range(8)] for theme in (LIGHT, DARK)] + [list(COLOURS)],
    ids=["light", "dark", "contact sheet"],
)
def test_any_two_colours_differ_to_any_eye(colours: list[str], sight: str) -> None:
    seen = [lab(np.array(SIGHTS[sight]) @ linear(colour)) for colour in colours]
    # About ten differences that are just noticed.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_points_stand_out_and_texts_are_read(theme: dict[str, str]) -> None:
    assert min(contrast(theme[f"c{i}"], theme["tint"]) for i in range(8)) >= 3
    own = [(name, f"{name}-tint") for name in ("good", "bad", "mixed")] + [
        (text, f"{name}-tint") for text in ("ink", "soft", "link") for name in ("good", "bad", "mixed")
    ]
    pairs = [*itertools.product(TEXTS, GROUNDS), *own]
    assert min(contrast(theme[text], theme[ground]) for text, ground in pairs) >= 4.5
