"""How fast ``data=fractals`` makes pictures, beside PIL's decoding of the same pictures from JPEG.

    python -m benchmarks.speed.fractals

One thread and one process, as one worker of a run; adds to benchmarks/results/fractals.jsonl.
"""

import io
import time
from collections.abc import Callable

import torch
from PIL import Image

from benchmarks.rows import keep
from selfsup.data import fractals
from selfsup.data.readers.decode import decode

COUNT = 100


def rate(work: Callable[[int], object]) -> float:
    """Calls a second, the fastest of three rounds."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for i in range(COUNT):
            work(i)
        seconds.append(time.perf_counter() - began)
    return COUNT / min(seconds)


def row(size: int) -> dict[str, float]:
    train, _ = fractals(length=COUNT, test_length=1, systems=COUNT, objects=3, size=size, seed=0)
    encoded = []
    for i in range(COUNT):
        stream = io.BytesIO()
        Image.fromarray(train[i].permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    made, decoded = rate(lambda i: train[i]), rate(lambda i: decode(encoded[i], "picture"))
    return {"size": size, "made": made, "decoded": decoded, "ratio": made / decoded}


def main() -> None:
    torch.set_num_threads(1)
    rows = [row(size) for size in (32, 64, 224)]
    print(rows)
    keep("fractals", [{**each, "count": COUNT, "objects": 3} for each in rows], "size")


if __name__ == "__main__":
    main()
