"""Small stand-ins for encoders and data."""

import torch
from torch import Tensor, nn

from selfsup.data import ImageArray, UnreadableImage


def clusters(
    samples: int, width: int, classes: int, spread: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Gaussian clusters with correlated dimensions: features ``(samples, width)`` and labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(98)) / width**0.5
    labels = torch.arange(samples) % classes
    noise = torch.randn(samples, width, generator=generator)
    return (centres[labels] + spread * noise) @ mixing + 0.5, labels


def coloured(
    samples: int, classes: int = 4, side: int = 12, seed: int = 0, labels: bool = True
) -> ImageArray:
    """Noise images whose mean colour depends on their class."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(samples) % classes
    tint = torch.rand(classes, 3, 1, 1, generator=torch.Generator().manual_seed(7)) * 180
    images = tint[target] + 75 * torch.rand(samples, 3, side, side, generator=generator)
    return ImageArray(images.to(torch.uint8), target if labels else None)


class OnDemand:
    """A source that decodes when asked, of images of several sizes, some of them unreadable."""

    images = None

    def __init__(self, samples: int, broken: tuple[int, ...] = ()):
        generator = torch.Generator().manual_seed(3)
        self.pictures = [
            torch.randint(0, 256, (3, 10 + i % 5, 9 + i % 7), dtype=torch.uint8, generator=generator)
            for i in range(samples)
        ]
        self.broken = broken
        self.labels = torch.arange(samples) % 2
        self.classes = None
        self.skipped: list[tuple[str, str]] = []
        self.range = None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Tensor:
        if i in self.broken:
            raise UnreadableImage(self.name(i), "it is empty")
        return self.pictures[i]

    def name(self, i: int) -> str:
        return f"picture {i}"


class ToyEncoder(nn.Module):
    """As much of an encoder as the suite asks for."""

    input_size, mean, std, dim = 8, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 16
    card: dict = {}  # noqa: RUF012

    def __init__(self, seed: int = 0, output=None):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Conv2d(3, self.dim, 3), nn.BatchNorm2d(self.dim), nn.ReLU(), nn.Dropout(0.5)
            )
        self.seed, self.output = seed, output
        self.recipe = {"name": "toy"}

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images).mean((2, 3))
        return features if self.output is None else self.output(features)

    def untrained(self, seed: int) -> "ToyEncoder":
        return ToyEncoder(seed + 100)

    def fingerprint(self) -> str:
        return f"toy-{self.seed}"


def gaussian(samples: int, width: int, seed: int = 0) -> Tensor:
    """Independent normal features ``(samples, width)``."""
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed))


# Features by what is the matter with them; every spectral score is checked on each.
SPECTRA = {
    "power law": lambda: gaussian(3000, 128) * torch.arange(1, 129) ** -0.5,
    "power law and mean": lambda: gaussian(3000, 128) * torch.arange(1, 129) ** -0.5 + 3,
    "steep": lambda: gaussian(2000, 64) * torch.arange(1, 65) ** -1.5,
    "float32 blocks": lambda: gaussian(9000, 40) * torch.arange(1, 41) ** -0.5 + 0.5,
    "wide": lambda: gaussian(60, 180),
    "rank 8 of 512": lambda: gaussian(1024, 8) @ gaussian(8, 512, seed=1),
    "rank 8 in blocks": lambda: gaussian(8200, 8) @ gaussian(8, 64, seed=1) + 1,
    "rank 1 and noise": lambda: (
        gaussian(1500, 1) @ gaussian(1, 96, seed=1) + 1e-3 * gaussian(1500, 96, seed=2)
    ),
    "constant and noise": lambda: torch.ones(2048, 512) + 1e-3 * gaussian(2048, 512),
    "large": lambda: gaussian(300, 30) * 1e6,
    "small": lambda: gaussian(300, 30) * 1e-6,
    "float16": lambda: gaussian(300, 30).half(),
    "bfloat16": lambda: gaussian(300, 30).bfloat16(),
    "whole numbers": lambda: (gaussian(300, 30) * 4).long(),
}


def views(images: int, count: int, width: int, informative: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Views of images that differ in some directions, amid noise in all: features, and groups by image."""
    centres = torch.zeros(images, width)
    centres[:, :informative] = 10 * gaussian(images, informative, seed)
    features = centres.repeat_interleave(count, dim=0) + gaussian(images * count, width, seed + 1)
    mixing = torch.linalg.qr(gaussian(width, width, seed + 2))[0] * torch.linspace(1, 2, width)
    return features @ mixing + 0.5, torch.arange(images).repeat_interleave(count)
