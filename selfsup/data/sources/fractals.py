"""Pictures that need no data: attractors of random iterated function systems, in colour, several a picture.

After Anderson and Farrell, "Improving Fractal Pre-training", WACV 2022, arXiv:2110.03091: how systems are
drawn so that nearly all of them look like something, and pictures of several fractals on a background.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.data.readers.names import Numbered
from selfsup.data.source import ImageFiles
from selfsup.errors import UsageError

FEWEST, MOST = 2, 8  # maps a system
LARGEST = 0.999  # singular value of a map: below 1, so that each map contracts
BURN_IN, STEPS = 20, 12  # iterations before points lie on the attractor, and those that are drawn
POINTS = 2  # drawn for each pixel of a fractal's square

_SYSTEMS, _TRAIN, _TEST = range(3)  # separate streams of random numbers


def fractals(
    length: int, test_length: int, systems: int, objects: int, size: int, seed: int
) -> tuple[ImageFiles, ImageFiles]:
    """Pictures of fractals, made on demand. Picture i is always the same, of system i mod ``systems``.

    A picture shows 1 to ``objects`` fractals on a smooth background, each turned, perhaps mirrored, scaled,
    placed and coloured at random. Its label is the system of the largest, which lies in front.

    Args:
        length: number of training pictures; more of them cost nothing but time.
        test_length: number of test pictures, of the same systems.
        systems: number of systems, which are the classes.
        objects: most fractals a picture.
        size: pixels a side.
        seed: of systems and pictures.

    Returns:
        (train, test) sources.

    Raises:
        UsageError: if a number is too small.

    >>> train, test = fractals(length=1000, test_length=100, systems=10, objects=2, size=32, seed=0)
    >>> train[12].shape, int(train.labels[12]), train.name(12)
    (torch.Size([3, 32, 32]), 2, 'fractal 12')
    """
    least = {"length": 2, "test_length": 1, "systems": 1, "objects": 1}
    given = {"length": length, "test_length": test_length, "systems": systems, "objects": objects}
    for name, value in given.items():
        if value < least[name]:
            raise UsageError(f"data.{name} has to be at least {least[name]}, not {value}")
    if not isinstance(size, int):
        raise UsageError(f"fractals are squares; set data.image_size to one number, not {list(size)}")
    if size < 8:
        raise UsageError(f"fractals need at least 8 pixels a side, not {size}; set data.image_size")
    if seed < 0:
        raise UsageError(f"data.seed has to be 0 or more, not {seed}")

    def part(stream: int, count: int, name: str) -> ImageFiles:
        pictures = Pictures(count, systems, objects, size, seed, stream)
        classes = [f"system {s}" for s in range(systems)]
        return ImageFiles(pictures, torch.arange(count) % systems, classes, Numbered(name, count))

    return part(_TRAIN, length, "fractal"), part(_TEST, test_length, "test fractal")


@dataclass(frozen=True)
class System:
    """An iterated function system of K affine maps x -> A x + b of the plane.

    Attributes:
        A: (K, 2, 2), each with singular values below 1.
        b: (K, 2).
        p: (K,), how often each map is applied; sums to 1.
    """

    A: np.ndarray
    b: np.ndarray
    p: np.ndarray


def random_system(random: np.random.Generator) -> System:
    """A system of 2 to 8 maps whose singular values fill the plane neither too thinly nor too densely.

    The K maps are A = R(θ) diag(σ₁, σ₂) R(φ) D with rotations R, reflections D = diag(±1, ±1) and
    1 > σ₁ ≥ σ₂ ≥ 0 such that the sum of σ₁ + 2 σ₂ over the maps is uniform between (5 + K) / 2 and
    (6 + K) / 2; b is uniform in [-1, 1]². A map's frequency is proportional to |det A|, with a hundredth of
    the largest as its least.
    """
    count = int(random.integers(FEWEST, MOST + 1))
    sigma = _singular_values(random, count, float(random.uniform(5 + count, 6 + count)) / 2)
    left, right = _rotations(random, count), _rotations(random, count)
    flips = random.choice([-1.0, 1.0], (count, 1, 2))
    area = sigma.prod(1)
    frequency = np.maximum(area, area.max() / 100)
    return System(
        A=left * sigma[:, None, :] @ right * flips,
        b=random.uniform(-1, 1, (count, 2)),
        p=frequency / frequency.sum(),
    )


def attractor(system: System, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points of a system's attractor by the chaos game (Barnsley 1988), many short chains side by side.

    Returns:
        (points, maps): float64 (2, N) with N the least multiple of 12 from ``count`` on, and int64 (N,), the
        map that was applied last.
    """
    chains = -(-count // STEPS)
    steps = BURN_IN + STEPS
    maps = np.searchsorted(np.cumsum(system.p)[:-1], random.random((steps, chains)), side="right")
    coefficients = np.concatenate([system.A.reshape(-1, 4), system.b], 1)
    a, b, c, d, e, f = coefficients.T[:, maps]
    points = np.empty((2, STEPS, chains))
    x, y = system.b[maps[0]].T
    for step in range(steps):
        x, y = a[step] * x + b[step] * y + e[step], c[step] * x + d[step] * y + f[step]
        if step >= BURN_IN:
            points[:, step - BURN_IN] = x, y
    return points.reshape(2, -1), maps[BURN_IN:].reshape(-1)


class Pictures:
    """Pictures as a sequence of uint8 (3, size, size), each made on demand; can be pickled."""

    def __init__(self, count: int, systems: int, objects: int, size: int, seed: int, stream: int):
        self.count, self.systems, self.objects = count, systems, objects
        self.size, self.seed, self.stream = size, seed, stream

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int, /) -> Tensor:
        if not 0 <= i < self.count:
            raise IndexError(i)
        random = np.random.default_rng((self.seed, self.stream, i))
        canvas = _background(random, self.size)
        others = int(random.integers(0, self.objects))
        largest = self.size * float(random.uniform(0.6, 1.0))
        for _ in range(others):
            side = largest * float(random.uniform(0.2, 0.6))
            _draw(canvas, _system(self.seed, int(random.integers(self.systems))), side, random)
        _draw(canvas, _system(self.seed, i % self.systems), largest, random)
        return torch.from_numpy((canvas * 255 + 0.5).astype(np.uint8))


@lru_cache(4096)
def _system(seed: int, number: int) -> System:
    return random_system(np.random.default_rng((seed, _SYSTEMS, number)))


def _singular_values(random: np.random.Generator, count: int, total: float) -> np.ndarray:
    """(K, 2) whose σ₁ + 2 σ₂ sum to ``total``, drawn map by map so that the rest stays possible."""
    values = np.empty((count, 2))
    for k in range(count):
        least = max(0.0, total - 3 * LARGEST * (count - k - 1))  # that this map has to take
        first = random.uniform(least / 3, min(LARGEST, total))
        second = random.uniform(max(0.0, (least - first) / 2), min(first, (total - first) / 2))
        values[k] = first, second
        total -= first + 2 * second
    return values


def _rotations(random: np.random.Generator, count: int) -> np.ndarray:
    angle = random.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)


def _draw(canvas: np.ndarray, system: System, side: float, random: np.random.Generator) -> None:
    """Lay a fractal on the canvas (3, S, S) in [0, 1]: denser is brighter, and each map has its hue."""
    size = canvas.shape[1]
    (x, y), maps = attractor(system, int(POINTS * side * side), random)
    angle, mirror = random.uniform(0, 2 * np.pi), random.choice([-1.0, 1.0])
    x, y = np.cos(angle) * x - np.sin(angle) * y, mirror * (np.sin(angle) * x + np.cos(angle) * y)
    scale = (side - 1) / max(np.ptp(x), np.ptp(y), 1e-9)
    corner = random.uniform(0, size - side, 2) if size > side else np.zeros(2)
    column = ((x - x.min()) * scale + corner[0]).astype(np.int64)
    row = ((y - y.min()) * scale + corner[1]).astype(np.int64)
    pixel = row * size + column
    hits = np.bincount(pixel, minlength=size * size)
    drawn = np.flatnonzero(hits)
    brightness = np.log1p(hits[drawn]) / np.log1p(hits.max())
    colours = _colours(random, len(system.p))
    flat = canvas.reshape(3, -1)
    for channel in range(3):
        shade = np.bincount(pixel, colours[maps, channel], size * size)[drawn] / hits[drawn]
        flat[channel, drawn] = shade * (0.35 + 0.65 * brightness)


def _colours(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) in [0, 1]: hues around one of the wheel's, in one saturation."""
    hue = random.uniform() + random.uniform(-0.25, 0.25, count)
    saturation = random.uniform(0.3, 1.0)
    wheel = np.clip(np.abs((hue[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    return 1 - saturation * (1 - wheel)


def _background(random: np.random.Generator, size: int) -> Any:
    """Smooth dim colours, (3, S, S) in [0, 1]."""
    coarse = torch.from_numpy(random.uniform(0, 0.6, (1, 3, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    return smooth[0].numpy()
