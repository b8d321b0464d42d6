"""Curation of a million embeddings of width 384: near copies, two-level k-means, and k-means beside faiss's.

    python -m benchmarks.speed.curation                     # all three
    python -m benchmarks.speed.curation --only pairs levels --rows 100000

The embeddings are unit rows of a mixture of 2,000 groups, whose sizes fall as 1/rank, in float16 in a
memory-mapped file; 5 % are copies with noise, of cosine 0.97 to the original. Each task runs in a process of
its own. Its peak memory has the mapped pages in it, and its processor minutes stand beside its minutes, which
other work on the machine makes longer. faiss (`pip install faiss-cpu`) and ours cluster the same rows, from
the same first centroids. Results go to ``benchmarks/results/curation-size.jsonl``.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import keep
from selfsup.curation.draws import choose, draws
from selfsup.curation.hierarchy import hierarchy
from selfsup.curation.kmeans import lloyd, mean, plus_plus, to_centroids
from selfsup.curation.pairs import components, near_pairs
from selfsup.runtime import prepare_process

ROWS, WIDTH, GROUPS, COPIED, BLOCK = 1_000_000, 384, 2000, 0.05, 50_000
THRESHOLD, PARTS, ITERATIONS = 0.95, 100, 10


def made(path: Path, rows: int) -> None:
    """Write the embeddings; the copies stand at the end, of the rows from the first on."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(GROUPS, WIDTH, generator=generator)
    shares = 1 / torch.arange(1, GROUPS + 1)
    out = torch.from_file(str(path), shared=True, size=rows * WIDTH, dtype=torch.float16).view(rows, WIDTH)
    originals = rows - round(COPIED * rows)
    for start in range(0, originals, BLOCK):
        size = min(BLOCK, originals - start)
        group = torch.multinomial(shares, size, replacement=True, generator=generator)
        out[start : start + size] = unit(centres[group] + torch.randn(size, WIDTH, generator=generator))
    noise = torch.randn(rows - originals, WIDTH, generator=generator)
    out[originals:] = unit(out[: rows - originals].float() + 0.25 * noise / WIDTH**0.5)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


def pairs(x: Tensor) -> dict[str, Any]:
    found = near_pairs(x, THRESHOLD)
    roots = components(found.first, found.second, len(x))
    copies = round(COPIED * len(x))
    planted = torch.arange(copies)
    together = roots[planted] == roots[planted + len(x) - copies]
    return {
        "threshold": THRESHOLD,
        "pairs": len(found.first),
        "components": len(roots.unique()),
        "capped": found.capped,
        "recall": found.recall,
        "planted_found": float(together.double().mean()),
    }


def levels(x: Tensor) -> dict[str, Any]:
    sizes = [len(x) // 100, len(x) // 1000]
    tree = hierarchy(x, sizes, draws(0), rounds=0, iterations=ITERATIONS, parts=PARTS)
    return {
        "sizes": [len(level.centroids) for level in tree],
        "parts": PARTS,
        "iterations": ITERATIONS,
        "inertia": float(to_centroids(x, tree[0]).mean()),
    }


def faiss(x: Tensor) -> dict[str, Any]:
    """Seconds a side, both from the same random rows, and of k-means++, which faiss does not have."""
    import faiss as peer

    k, sample, iterations = 500, min(len(x), 64_000), 25
    rows = x[choose(draws(0), sample, len(x)).sort().values].float()
    start = rows[choose(draws(1), k, sample)]
    centre = mean(rows)
    began = time.process_time(), time.perf_counter()
    ours = lloyd(rows, start, iterations, centre)
    between = time.process_time(), time.perf_counter()
    theirs = peer.Kmeans(WIDTH, k, niter=iterations, max_points_per_centroid=sample, verbose=False)
    theirs.train(rows.numpy(), init_centroids=start.numpy())
    done = time.process_time(), time.perf_counter()
    chosen = rows[plus_plus(rows, k, draws(2), centre)]
    after = time.process_time(), time.perf_counter()
    apart, _ = theirs.index.search(rows.numpy(), 1)
    better = lloyd(rows, chosen, iterations, centre)
    seconds = {
        name: {"cpu": round(b[0] - a[0], 2), "wall": round(b[1] - a[1], 2)}
        for name, a, b in (
            ("ours", began, between),
            ("faiss", between, done),
            ("k-means++", done, after),
        )
    }
    return {
        "k": k,
        "sample": sample,
        "iterations": iterations,
        "seconds": seconds,
        "faiss": peer.__version__,
        "inertia": {
            "ours": float(to_centroids(rows, ours).mean()),
            "faiss": float(np.mean(apart)),
            "after k-means++": float(to_centroids(rows, better).mean()),
        },
    }


TASKS = {"pairs": pairs, "levels": levels, "faiss": faiss}


def alone(name: str, path: Path, rows: int) -> dict[str, Any]:
    """A task in this process."""
    x = torch.from_file(str(path), size=rows * WIDTH, dtype=torch.float16).view(rows, WIDTH)
    wall, cpu = time.perf_counter(), time.process_time()
    found = TASKS[name](x)
    return {
        "minutes": round((time.perf_counter() - wall) / 60, 2),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "torch_threads": torch.get_num_threads(),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--alone", nargs=2, metavar=("TASK", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        name, file = arguments.alone
        print(json.dumps(alone(name, Path(file), arguments.rows)))
        return
    prepare_process()  # as a command does; the processes of the tasks inherit it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.f16"
        made(path, arguments.rows)
        for name in arguments.only:
            command = [sys.executable, "-m", "benchmarks.speed.curation", f"--rows={arguments.rows}"]
            done = subprocess.run(
                [*command, "--alone", name, str(path)], check=True, stdout=subprocess.PIPE, text=True
            )
            row = {"task": name, "rows": arguments.rows, "width": WIDTH, **json.loads(done.stdout)}
            print(json.dumps(row))
            keep("curation-size", [row], "task", "rows")


if __name__ == "__main__":
    main()
