"""Our views against lightly's, torchvision's, kornia's and albumentations': the same recipes, time a view.

    uv run --group benchmarks python -m benchmarks.speed.views
    uv run --group benchmarks python -m benchmarks.speed.views --cases 32 --repeats 3

All sides run in turn in one process, and the fastest of all repeats counts: neighbours on a shared machine
only ever slow a run down. Each side gets the input that it is made for: lightly, torchvision and
albumentations one image at a time, kornia and ours a batch. Photographs are decoded by PIL, for
albumentations by OpenCV. The images are those of ``SELFSUP_DATA`` or ``../shared/data``. Freed memory is
kept, as our commands keep it. Results go to ``benchmarks/results/views.jsonl``, beside those of other
machines.
"""

import argparse
import functools
import io
import os
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as our commands do, before torch is imported

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.rows import keep
from selfsup.config import load_config
from selfsup.data import ImageArray, ImageFiles
from selfsup.data.batches import training_loader
from selfsup.data.order import EpochOrder
from selfsup.data.readers.crops import read_crops
from selfsup.runtime import keep_freed_memory
from selfsup.views import ViewPlan

DATA = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRENGTHS = (0.8, 0.8, 0.8, 0.2)


@functools.cache
def encoded(name: str, n: int) -> list[bytes]:
    column = pq.read_table(DATA / f"{name}-train.parquet", columns=["image"])["image"]
    return [row["bytes"] for row in column[:n].to_pylist()]


@functools.cache
def small(n: int) -> list[Image.Image]:
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in encoded("cifar10", n)]
    return [image for image in images if image.load() is not None]


def tensor_of(images: list[Image.Image]) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()
    )


def ours(views: str, size: int, compiled: bool, *overrides: str) -> ViewPlan:
    """A plan of configs/views as for photographs, at any size: sigmas are pixels of the view."""
    return ViewPlan(recipe(views, size, *overrides), size, MEAN, STD, native=compiled)


def recipe(views: str, size: int, *overrides: str) -> dict[str, Any]:
    common = ["data=folder", "data.root=.", f"data.image_size={size}", f"views={views}"]
    kinds = load_config("train", [*common, *overrides])["views"]
    return {
        name: {**kind, "recipe_size": size} if views == "simclr" else kind for name, kind in kinds.items()
    }


def lightly_view(size: int) -> Callable[[Image.Image], Any]:
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    return SimCLRViewTransform(input_size=size)


def torchvision_view(size: int, kernel: int) -> Callable[[Any], Any]:
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(*STRENGTHS)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def albumentations_view(size: int, kernel: int) -> Callable[[np.ndarray], Any]:
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    view = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
            A.HorizontalFlip(),
            A.ColorJitter((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2), p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=(kernel, kernel), sigma_limit=(0.1, 2.0), p=0.5),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )
    return lambda image: view(image=image)["image"]


def kornia_views(size: int, kernel: int) -> Callable[[torch.Tensor], Any]:
    import kornia.augmentation as K

    views = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(*STRENGTHS, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )
    return lambda images: views(images.float() / 255)


# For each side: how many views one call makes, and the call.
Case = dict[str, tuple[int, Callable[[], Any]]]
OURS = {"ours": True, "ours, by torch": False}
DECODING = "PIL, only decoding"


def view_of_32() -> Case:
    """SimCLR's view of CIFAR-10's images, decoded before."""
    n, few = 512, 128
    images = small(n)
    batch = {"image": tensor_of(images), "index": torch.arange(n)}
    arrays = [np.asarray(image) for image in images]
    one, other, third, many = (
        lightly_view(32),
        torchvision_view(32, 3),
        albumentations_view(32, 3),
        kornia_views(32, 3),
    )
    plans = {name: ours("simclr", 32, compiled, "views.each.count=1") for name, compiled in OURS.items()}
    return {
        **{name: (n, functools.partial(plan, batch, 0)) for name, plan in plans.items()},
        "lightly": (few, lambda: [one(image) for image in images[:few]]),
        "torchvision": (few, lambda: [other(image) for image in images[:few]]),
        "kornia": (n, lambda: many(batch["image"])),
        "albumentations": (n, lambda: [third(image) for image in arrays]),
    }


def channels_of(size: int, n: int) -> Case:
    """SimCLR's view of noise of 1 to 16 channels beside that of colours, for each channel."""
    kinds = recipe("simclr", size, "views.each.count=1")

    def side(channels: int, compiled: bool = True) -> tuple[int, Callable[[], Any]]:
        pixels = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8)
        plan = ViewPlan(kinds, size, [0.5] * channels, [0.25] * channels, native=compiled)
        return n * channels, functools.partial(plan, {"image": pixels, "index": torch.arange(n)}, 0)

    several = {f"{channels} channels": side(channels) for channels in (4, 8, 16)}
    return {"ours": side(3), "ours, by torch": side(3, False), "1 channel": side(1), **several}


class _Lightly(Dataset[Any]):
    def __init__(self, images: list[Image.Image]) -> None:
        from lightly.transforms.simclr_transform import SimCLRTransform

        self.images, self.views = images, SimCLRTransform(input_size=32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        return self.views(self.images[i])


def epoch_of_32() -> Case:
    """Both views of an epoch of CIFAR-10's images in batches of 512, on all cores."""
    n = 4096
    images = small(n)
    theirs = DataLoader(
        _Lightly(images), 512, shuffle=True, num_workers=len(os.sched_getaffinity(0)), persistent_workers=True
    )
    source = ImageArray(tensor_of(images))

    def loop(plan: ViewPlan) -> None:
        for batch in training_loader(source, plan, EpochOrder(n, 512, 0), 0):
            plan(batch, batch["epoch"])

    plans = {name: ours("simclr", 32, compiled) for name, compiled in OURS.items()}
    return {
        **{name: (2 * n, functools.partial(loop, plan)) for name, plan in plans.items()},
        "lightly": (2 * n, lambda: list(theirs)),
    }


def photographs(plan: ViewPlan, files: list[bytes]) -> Callable[[], Any]:
    source, indices = ImageFiles(files), list(range(len(files)))

    def run() -> list[torch.Tensor]:
        crops, _ = read_crops(source, indices, plan, 0)
        views = [torch.stack(view) for view in zip(*crops.values(), strict=True)]
        return plan.finish(views, torch.arange(len(files)), 0)

    return run


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def view_of_224() -> Case:
    """SimCLR's view of photographs, from their JPEG files."""
    import cv2

    n = 64
    files = encoded("flowers", n)
    one, other, third = lightly_view(224), torchvision_view(224, 23), albumentations_view(224, 23)

    def decoded(content: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    plans = {name: ours("simclr", 224, compiled, "views.each.count=1") for name, compiled in OURS.items()}
    return {
        **{name: (n, photographs(plan, files)) for name, plan in plans.items()},
        "lightly": (n, lambda: [one(opened(content)) for content in files]),
        "torchvision": (n, lambda: [other(opened(content)) for content in files]),
        "albumentations": (n, lambda: [third(decoded(content)) for content in files]),
        DECODING: (n, lambda: [opened(content) for content in files]),
    }


def ten_crops() -> Case:
    """DINO's two crops of 224 and eight of 96 pixels, from JPEG files, for all ten together."""
    from lightly.transforms.dino_transform import DINOTransform

    n, few = 32, 16
    files = encoded("flowers", n)
    theirs = DINOTransform(n_local_views=8)
    plans = {name: ours("dino", 224, compiled, "views.small.count=8") for name, compiled in OURS.items()}
    return {
        **{name: (n, photographs(plan, files)) for name, plan in plans.items()},
        "lightly": (few, lambda: [theirs(opened(content)) for content in files[:few]]),
    }


# The title, the number of threads, and the case.
CASES: dict[str, tuple[str, int, Callable[[], Case]]] = {
    "32": ("a SimCLR view of 32 px, one thread", 1, view_of_32),
    "epoch": ("a SimCLR view of 32 px, two an image, batches of 512, all cores", 0, epoch_of_32),
    "224": ("a SimCLR view of 224 px from a JPEG photograph, one thread", 1, view_of_224),
    "dino": ("DINO's ten crops from a JPEG photograph, one thread", 1, ten_crops),
    "channels": (
        "a channel of a SimCLR view of 32 px, ours of 3 channels, one thread",
        1,
        functools.partial(channels_of, 32, 512),
    ),
    "channels 224": (
        "a channel of a SimCLR view of 224 px, ours of 3 channels, one thread",
        1,
        functools.partial(channels_of, 224, 16),
    ),
}
# Our targets: at least so many times as fast as a side, natively and by torch alone.
AIMS: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("32", "lightly"): (10, 4),
    ("32", "kornia"): (None, 1.5),
    ("epoch", "lightly"): (4, None),
    ("224", "lightly"): (3, None),
    ("224", "torchvision"): (10, None),
    ("224", "albumentations"): (0.9, None),
    ("dino", "lightly"): (3, None),
}


def measure(case: str, repeats: int) -> list[dict[str, Any]]:
    title, threads, build = CASES[case]
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    sides = build()
    best = dict.fromkeys(sides, float("inf"))
    for repeat in range(repeats + 1):
        for side, (n, work) in sides.items():
            # The same draws in every round, so that the fastest is not the one with the fewest blurs.
            for seed in (torch.manual_seed, random.seed, np.random.seed):
                seed(0)
            started = time.perf_counter()
            work()
            if repeat:  # the first round compiles, starts workers and allocates memory
                best[side] = min(best[side], (time.perf_counter() - started) / n)
    rows = []
    for side, seconds in best.items():
        faster = {
            f"{name}_times_as_fast": round(seconds / best[key], 2)
            for name, key in (("native", "ours"), ("torch", "ours, by torch"))
        }
        native, torch_ = AIMS.get((case, side), (None, None))
        aims = {"native_aim": native, "torch_aim": torch_}
        rows.append({"case": title, "side": side, "us": round(1e6 * seconds, 1), **faster, **aims})
        print(
            "{case:68} {side:15} {us:9.1f} us  x{native_times_as_fast:<7} x{torch_times_as_fast}".format(
                **rows[-1]
            )
        )
    return rows


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--repeats", type=int, default=4)
    arguments = parser.parse_args()
    import cv2

    cv2.setNumThreads(0)
    keep_freed_memory()
    torch.manual_seed(0)
    packages = ("torchvision", "kornia", "albumentations", "pillow", "opencv-python-headless")
    versions = {package: version(package) for package in packages}
    for case in arguments.cases:
        rows = [{"part": case, "peers": versions, **row} for row in measure(case, arguments.repeats)]
        keep("views", rows, "part", "case", "side", "device")


if __name__ == "__main__":
    main()
