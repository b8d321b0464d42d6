"""The evaluation suite beside its peers, on features that are drawn: time, agreement, memory.

python -m benchmarks.speed.evaluation            # all cases, each in a process of its own
python -m benchmarks.speed.evaluation knn ridge  # some; the others' results are kept

Needs faiss-cpu beside what the project needs (``uv run --with faiss-cpu python ...``). Seconds are wall-clock
time, so nothing else may run on the machine; ours and its peers run in one process. ``cifar10`` reads
CIFAR-10 from the folder that SELFSUP_DATA names, by default ../shared/data.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsup.runtime import keep_freed_memory, wait_briefly

BANK, QUERIES, WIDTH, CLASSES = 50_000, 10_000, 512, 10
SLICES = {"train": "[:20000]", "test": ""}  # of CIFAR-10


def features(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes that overlap; the spread of directions, which are not the axes, falls off as a power law."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (samples,), generator=generator)
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    scale = torch.arange(1, WIDTH + 1) ** -0.5
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(98))).Q
    drawn = (0.12 * centres[labels] + torch.randn(samples, WIDTH, generator=generator)) * scale
    return drawn @ turn + 0.1, labels


def seconds(run: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    """Seconds of the fastest of several runs, and its result."""
    best, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best, result


def peak() -> float:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def knn() -> dict[str, Any]:
    import faiss
    from lightly.utils.benchmarking.knn import knn_predict
    from sklearn.neighbors import NearestNeighbors

    from selfsup.evaluation import neighbours
    from selfsup.evaluation.classifiers.neighbours import knn as vote

    (bank, labels), (queries, _) = features(BANK, 0), features(QUERIES, 1)
    k = 200
    neighbours(bank[:2000], queries[:100], 10)
    before = peak()
    ours, (similarity, index) = seconds(lambda: neighbours(bank, queries, k))
    beyond = peak() - before
    ours_votes, votes = seconds(lambda: vote(bank, labels, queries, k))
    unit_bank, unit_queries = (torch.nn.functional.normalize(x, dim=1) for x in (bank, queries))
    row: dict[str, Any] = {
        "ours_s": ours,
        "ours_with_votes_s": ours_votes,
        "ours_beyond_features_mib": beyond,
    }
    peer = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.numpy())
    row["sklearn_s"], (distance, found) = seconds(lambda: peer.kneighbors(queries.numpy()))
    same = [set(a) == set(b) for a, b in zip(index.tolist(), found.tolist(), strict=True)]
    theirs = 1 - torch.from_numpy(distance).double()
    row["queries_same_as_sklearn"] = sum(same)
    # Sets differ where float32 cannot separate neighbours from the k-th; similarities show whether that is
    # all.
    row["queries_same_but_for_ties"] = int(((theirs - similarity).abs().amax(1) < 2e-6).sum())
    row["largest_similarity_difference"] = float((theirs - similarity).abs().max())

    def lightly() -> Tensor:
        blocks = unit_queries.split(256)
        return torch.cat([knn_predict(q, unit_bank.t(), labels, CLASSES, k, 0.07) for q in blocks])

    row["lightly_s"], predicted = seconds(lightly)
    row["same_prediction_as_lightly"] = float((predicted[:, 0] == votes.argmax(1)).double().mean())
    index_flat = faiss.IndexFlatIP(WIDTH)
    index_flat.add(unit_bank.numpy())
    row["faiss_s"], _ = seconds(lambda: index_flat.search(unit_queries.numpy(), k))
    # The minimum of an exact search: the products in float32, without keeping them.
    blocks, scores = unit_bank.split(2048), torch.empty(QUERIES, 2048)

    def products() -> None:
        for block in blocks:
            torch.mm(unit_queries, block.t(), out=scores[:, : len(block)])

    row["products_s"], _ = seconds(products, 3)
    return row | {"versions": {name: version(name) for name in ("scikit-learn", "faiss-cpu")}}


def knn_million() -> dict[str, Any]:
    from selfsup.evaluation import neighbours

    count, width = 1_000_000, 384
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank"
        bank = torch.from_file(str(path), shared=True, size=count * width, dtype=torch.float16).view(
            count, width
        )
        generator = torch.Generator().manual_seed(0)
        for block in bank.split(65536):
            block.copy_(torch.randn(block.shape, generator=generator))
        queries = bank[::2000].float() + 0.5 * torch.randn(500, width, generator=generator)
        ours, (_, index) = seconds(lambda: neighbours(bank, queries, 200))
    nearest = float((index[:, 0] == torch.arange(0, count, 2000)).double().mean())
    return {"queries": 500, "ours_s": ours, "nearest_is_the_source": nearest, "peak_mib": peak()}


def ridge() -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    from selfsup.evaluation.classifiers.probes import standardise
    from selfsup.evaluation.classifiers.ridge import ridge_probe

    (x, y), (test, truth) = features(BANK, 0), features(QUERIES, 1)
    strengths = [10.0**power for power in range(1, -6, -1)]
    ours, probe = seconds(lambda: ridge_probe(x, y, test, strengths), 2)
    scaled, asked = (each.numpy() for each in standardise(x, test))
    model = LogisticRegression()
    theirs, _ = seconds(lambda: model.fit(scaled, y.numpy()))
    return {
        "ours_s": ours,
        "sklearn_logistic_s": theirs,
        "sklearn_iterations": int(model.n_iter_[0]),
        "ours_accuracy": float((probe.predictions == truth).double().mean()),
        "sklearn_accuracy": float((model.predict(asked) == truth.numpy()).mean()),
    }


def linear() -> dict[str, Any]:
    from selfsup.config import load_config
    from selfsup.evaluation.classifiers.heads import Input, Training, cosine, train_heads
    from selfsup.evaluation.classifiers.probes import whiten

    settings = load_config("evaluate", ["encoder=x", "protocols=linear"])["protocols"]["linear"]
    x, y = features(BANK, 0)
    (white,) = whiten(x)
    rows, training = torch.arange(BANK), Training(settings["steps"], settings["batch"], cosine)
    grid = [(rate, 0.0) for rate in settings["rates"]]
    many, _ = seconds(lambda: train_heads(white, y, rows, CLASSES, [Input()], grid, training))
    one, _ = seconds(lambda: train_heads(white, y, rows, CLASSES, [Input()], grid[6:7], training))
    return {"rates": len(grid), "all_s": many, "one_s": one}


def cifar10() -> dict[str, Any]:
    """The SGD of ``linear`` beside converged regressions, ours and scikit-learn's."""
    from sklearn.linear_model import LogisticRegression

    from selfsup.config import load_config
    from selfsup.data import load_data
    from selfsup.encoder import build_encoder
    from selfsup.evaluation import extract
    from selfsup.evaluation.classifiers.probes import standardise
    from selfsup.evaluation.registry import protocols, records

    folder = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))
    chosen = ["encoder=x", "protocols=[linear,logistic]", "data=parquet", "data.name=cifar10"]
    files = [f"data.{split}={folder}/cifar10-{split}.parquet{rows}" for split, rows in SLICES.items()]
    config = load_config("evaluate", [*chosen, *files])
    encoder = build_encoder("resnet18", 32, seed=0)
    train, test = (
        extract(encoder, source, 32, encoder.mean, encoder.std)
        for source in load_data({**config["data"], "in_memory": True})
    )
    scores = {each.name: records(each, train, test)[each.name] for each in protocols(config["protocols"])}
    strength = scores["logistic"]["settings"]["strength"]
    scaled, asked = (each.numpy() for each in standardise(train.x, test.x))
    peer = LogisticRegression(C=1 / (strength * len(train)), max_iter=2000, tol=1e-6)
    peer.fit(scaled, train.labels.numpy())
    return {
        "samples": [len(train), len(test)],
        "linear": scores["linear"]["value"],
        "logistic": scores["logistic"]["value"],
        "sklearn_logistic": float((peer.predict(asked) == test.labels.numpy()).mean()),
        "sklearn_iterations": int(peer.n_iter_[0]),
    }


def table() -> dict[str, Any]:
    """All labelled protocols of cached features, one after the other."""
    from selfsup.config import load_config
    from selfsup.evaluation import Features, Part
    from selfsup.evaluation.registry import protocols, records

    names = "knn,linear,logistic,ridge,nshot,dinov2_linear,mae_linear,ijepa_linear,label_fraction,spectra"
    chosen = protocols(load_config("evaluate", ["encoder=x", f"protocols=[{names}]"])["protocols"])
    sides = []
    for samples, seed in ((BANK, 0), (QUERIES, 1)):
        x, y = features(samples, seed)
        index = torch.arange(samples)
        generator = torch.Generator().manual_seed(seed)
        blocks = torch.randn(samples, 4, 2, WIDTH, generator=generator).mul_(0.3).add_(x[:, None, None])
        sides.append(Features(x, y, index, parts={"blocks": Part(blocks, index)}))
    spent = {}
    for protocol in chosen:
        spent[protocol.name], found = seconds(lambda protocol=protocol: records(protocol, *sides))
        assert all(score["reason"] is None for score in found.values()), found
    return {"seconds": spent, "total_s": sum(spent.values()), "peak_mib": peak()}


CASES = {
    "knn": knn,
    "knn_million": knn_million,
    "ridge": ridge,
    "linear": linear,
    "cifar10": cifar10,
    "table": table,
}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        keep_freed_memory()  # as our commands do; the peers gain as well
        print(json.dumps(CASES[sys.argv[2]]()))
        return
    from benchmarks.rows import keep

    wait_briefly()
    for name in sys.argv[1:] or CASES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.evaluation", "--one", name],
            capture_output=True,
            text=True,
            check=True,
        )
        row = {
            "case": name,
            **json.loads(done.stdout.splitlines()[-1]),
            "load_average": os.getloadavg()[0],  # above the number of cores: others were at work too
        }
        print(row, flush=True)
        keep("evaluation", [row], "case")


if __name__ == "__main__":
    main()
