"""Planted truth for ``selfsup inspect``: copies of eight kinds, copies of test images, wrong labels.

    python -m benchmarks.quality.copies --data flowers
    python -m benchmarks.quality.copies --data digits
    python -m benchmarks.quality.copies --data cifar10 --encoder runs/two-first/encoder

Each planted copy has an original of its own among the training images. A pair that is found is right if it
joins a planted copy to its original or to another copy of that; it is wrong if it joins a planted copy to an
unrelated image. Pairs among the images that were there before count neither way: both sets hold near copies
of their own, which the page of ``selfsup inspect`` shows. For leakage copies of test images are planted, and
the truth is the score of the same images without them. For labels 5 % of the training labels are changed at
random, and the share of these among as many images with the lowest ``label_quality`` is divided by 5 %; the
digits have that alone. A row of ``benchmarks/results/copies.jsonl`` is a data set and a space.
"""

import argparse
import io
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps

from benchmarks.rows import keep
from selfsup.curation.inspection import VOTERS, Inspection, inspect_data, voters
from selfsup.curation.label_errors import contradicted, votes
from selfsup.curation.outliers import nearest_others
from selfsup.curation.space import PIXELS, space_of
from selfsup.data import ImageFiles, Source, digits
from selfsup.encoder import load_encoder
from selfsup.runtime import quiet

FILES = {
    "flowers": ("flowers-train.parquet", "flowers-val.parquet", 40),
    "cifar10": ("cifar10-train.parquet", "cifar10-test.parquet", 100),
}  # and how many copies of each kind
MOST = 3_000, 1_000  # training and test images
FLIPPED, DRAWS = 0.05, 10  # share of the labels, and how often they are drawn


def jpeg(image: Image.Image, quality: int) -> bytes:
    """Encoded at a quality."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def png(image: Image.Image) -> bytes:
    """Encoded without loss."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Both sides times a factor, bicubic."""
    return image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.BICUBIC)


def cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    """80 % of both sides, anywhere."""
    width, height = (round(0.8 * side) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


KINDS: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "half the size": lambda image, _: png(resized(image, 0.5)),
    "twice the size": lambda image, _: png(resized(image, 2)),
    "JPEG 30": lambda image, _: jpeg(image, 30),
    "JPEG 60": lambda image, _: jpeg(image, 60),
    "JPEG 90": lambda image, _: jpeg(image, 90),
    "mirrored": lambda image, _: png(ImageOps.mirror(image)),
    "cropped to 80 %": lambda image, draw: png(cropped(image, draw)),
}


def images_of(file: Path, most: int) -> tuple[list[bytes], list[int]]:
    """Encoded images and labels."""
    table = pq.read_table(file).slice(0, most)
    return [each["bytes"] for each in table["image"].to_pylist()], table["label"].to_pylist()


def source(files: Sequence[bytes], labels: Sequence[int]) -> ImageFiles:
    """Of encoded images."""
    return ImageFiles(list(files), torch.tensor(labels))


def opened(encoded: bytes) -> Image.Image:
    """In colours."""
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def recall_and_precision(found: Inspection, origin: Sequence[int], kind: Sequence[str], whole: int) -> Any:
    """By kind: planted copies, those found with their origin, and wrong pairs that they are in."""
    first, second = found.pairs.first, found.pairs.second
    near = found.pairs.similarity >= found.threshold
    joined = list(zip(first[near].tolist(), second[near].tolist(), strict=True))
    natural: dict[int, set[int]] = {}
    for a, b in joined:
        if max(a, b) < whole:
            natural.setdefault(a, {a}).add(b)
            natural.setdefault(b, {b}).add(a)
    root = {whole + i: at for i, at in enumerate(origin)}
    counted = {each: {"planted": 0, "found": 0, "wrong": 0} for each in dict.fromkeys(kind)}
    together = found.component
    for i, each in enumerate(kind):
        counted[each]["planted"] += 1
        counted[each]["found"] += int(together[whole + i] == together[origin[i]])
    for a, b in joined:
        of = [root.get(i, i) for i in (a, b)]
        if max(a, b) >= whole and of[1] not in natural.get(of[0], {of[0]}):
            for i in (a, b):
                if i in root:
                    counted[kind[i - whole]]["wrong"] += 1
    return counted


def of_labels(clean: Source, encoder: Any) -> dict[str, Any]:
    """Labels are changed at random, ten times; how many of these are among those with the lowest quality."""
    assert clean.labels is not None
    space = space_of(clean, encoder)
    labels = clean.labels[space.rows]
    index, classes = nearest_others(space.x, VOTERS)[1], int(labels.max()) + 1
    whole, made = len(labels), torch.Generator().manual_seed(0)
    sums: Counter[str] = Counter()
    for _ in range(DRAWS):
        wrong = torch.randperm(whole, generator=made)[: int(FLIPPED * whole)]
        changed = labels.clone()
        other = torch.randint(1, classes, (len(wrong),), generator=made)
        changed[wrong] = (changed[wrong] + other) % classes
        judged = contradicted(changed, votes(changed, index[:, : voters(changed)], classes))
        first = judged.quality.argsort(stable=True)
        few = max(1, len(wrong) // 5)
        sums["agree"] += float((judged.quality > 0.5).double().mean()) / DRAWS
        sums["lift"] += float(torch.isin(first[: len(wrong)], wrong).double().mean()) / FLIPPED / DRAWS
        sums["lift_of_first"] += float(torch.isin(first[:few], wrong).double().mean()) / FLIPPED / DRAWS
        sums["recall"] += float(judged.flagged[wrong].double().mean()) / DRAWS
    return {"flipped": int(FLIPPED * whole), "draws": DRAWS, **sums}


def main() -> None:
    """Plant, inspect, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=[*FILES, "digits"], required=True)
    parser.add_argument("--encoder", help="a folder; without one pixels are compared")
    parser.add_argument("--folder", type=Path, default=Path("../shared/data"), help="of the parquet files")
    arguments = parser.parse_args()
    quiet()
    if arguments.data == "digits":
        row = {"data": "digits", "space": PIXELS, "labels": of_labels(digits()[0], None)}
        keep("copies", [row], "data", "space")
        return
    train_file, test_file, each = FILES[arguments.data]
    files, labels = images_of(arguments.folder / train_file, MOST[0])
    test_files, test_labels = images_of(arguments.folder / test_file, MOST[1])
    encoder = None if arguments.encoder is None else load_encoder(arguments.encoder)
    draw = random.Random(1)  # the threshold was chosen with the copies of 0
    whole, test = len(files), source(test_files, test_labels)

    planted: list[bytes] = []
    origin: list[int] = []
    kind: list[str] = []
    free = iter(draw.sample(range(whole), whole))
    for name in ["the same file", *KINDS]:
        for _ in range(each):
            at = next(free)
            made = files[at] if name == "the same file" else KINDS[name](opened(files[at]), draw)
            planted.append(made)
            origin.append(at)
            kind.append(name)
    begin = time.process_time()
    found = inspect_data(
        {"train": source([*files, *planted], [*labels, *(labels[at] for at in origin)])}, encoder
    )
    seconds = time.process_time() - begin
    row: dict[str, Any] = {
        "data": arguments.data,
        "space": found.space if encoder is None else "encoder",
        "images": len(found.seen),
        "threshold": found.threshold,
        "cpu_seconds": round(seconds, 1),
        "copies": recall_and_precision(found, origin, kind, whole),
    }

    leaked = draw.sample(range(len(test_files)), len(test_files) // 10)
    makers = list(KINDS.values())
    copies = [makers[i % len(makers)](opened(test_files[at]), draw) for i, at in enumerate(leaked)]
    clean = inspect_data({"train": source(files, labels), "test": test}, encoder).leak
    given = [*labels, *(test_labels[at] for at in leaked)]
    leak = inspect_data({"train": source([*files, *copies], given), "test": test}, encoder).leak
    assert clean is not None
    assert leak is not None
    row["leakage"] = {
        **{key: getattr(leak, key) for key in ("affected", "total", "whole", "effect", "low", "high")},
        "truth": leak.whole - clean.without,
    }

    row["labels"] = of_labels(source(files, labels), encoder)
    keep("copies", [row], "data", "space")
    print(row)


if __name__ == "__main__":
    main()
