"""Try settings on a hold-out of a suite's training images: the choice of the shipped settings.

    python -m benchmarks.quality.tuning --suite cifar10-cpu --method simclr trainer.max_epochs=5
    python -m benchmarks.quality.tuning --suite cifar10-cpu --method simclr batch_size=256
    python -m benchmarks.quality.tuning --suite digits --method jepa --controls

A trial is the suite's experiment with the settings that are given, trained on a part of the training images
and judged on another part; no test image is used. Its scores, with the commands, cost and machine, are
a row of ``benchmarks/results/tuning-SUITE.jsonl``.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.quality.golden import SUITES, call
from benchmarks.rows import METHODS, keep

# The slices of a suite's training images for learning and for judging.
PARTS = {"cifar10-cpu": ("[:10000]", "[10000:15000]")}
PROTOCOLS = "protocols=[knn,linear,nshot]"


def parts(suite: str, data: str) -> list[str]:
    """The settings that split the suite's training images."""
    learned, held = PARTS.get(suite, ("[:80%]", "[80%:]"))
    files = SUITES[suite]
    where = "train" if files is None else f"{data}/{files[0].partition('[')[0]}"
    kind = [] if files is None else ["data=parquet"]
    return [*kind, f"data.train={where}{learned}", f"data.test={where}{held}"]


def judged(evaluate: list[str], encoder: Path) -> dict[str, Any]:
    """The evaluation's scores of an encoder's folder and its controls, by row and name."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        call([*evaluate, f"encoder={encoder}", f"out={results}", "cache=null"])
        rows = json.loads(results.read_text())["rows"]
    return {
        row["name"]: {
            name: {"value": row["scores"][name]["value"], "interval": row["scores"][name]["interval"]}
            for name in ("knn", "linear", "5-shot")
        }
        for row in rows
    }


def trial(suite: str, method: str, settings: list[str], data: str, controls: bool) -> dict[str, Any]:
    """Train and judge: the commands, minutes of training, and the scores of the encoder and its controls."""
    images = parts(suite, data)
    train = [
        "selfsup",
        "train",
        f"experiment={suite.replace('-', '_')}_{method}",
        *images,
        *settings,
        "evaluate=false",
    ]
    evaluate = ["selfsup", "evaluate", *images, PROTOCOLS, f"controls={str(controls).lower()}"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "trial"
        started = time.perf_counter()
        call([*train, "report=false", "online=none", f"out={folder}", "name=trial"])
        minutes = (time.perf_counter() - started) / 60
        scores = judged(evaluate, run / "encoder")
    return {
        "method": method,
        "settings": settings,
        "trial": [" ".join(train), " ".join(evaluate)],
        "minutes": round(minutes, 2),
        "scores": scores,
    }


def main() -> None:
    """Make the trial that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    parser.add_argument("--controls", action="store_true", help="judge untrained, pixels and PCA as well")
    parser.add_argument("settings", nargs="*", help="key=value, as of selfsup train")
    arguments = parser.parse_args()
    found = trial(arguments.suite, arguments.method, arguments.settings, arguments.data, arguments.controls)
    name = " ".join([arguments.method, *arguments.settings])
    keep(f"tuning-{arguments.suite}", [found], "method", "settings")
    print(name, {key: round(score["value"], 4) for key, score in found["scores"]["encoder"].items()})


if __name__ == "__main__":
    main()
