"""A search without labels of 60 core minutes, and what its winner is worth.

    python -m benchmarks.quality.tune --runs runs/tune-measured                   # digits and CIFAR-10
    python -m benchmarks.quality.tune --runs runs/tune-measured --suites digits   # one of them
    python -m benchmarks.quality.tune --runs runs/try --trials 2 trainer.max_steps=4  # a try: no row

SimCLR's shipped settings are searched by ``selfsup tune`` with the rotation probe, on digits and on 10,000
images of CIFAR-10. Then the winner and the settings as they are learn at full length with two fresh seeds
each, and are judged by labels on the test images, paired. kNN and linear accuracy of every trial's encoder on
the test images are diagnosis alone: the search has ended. The same command continues where it was stopped.
Rows go to ``benchmarks/results/tune.jsonl``.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rows import keep
from selfsup.evaluation import spearman
from selfsup.evidence import goodness
from selfsup.runtime import quiet
from selfsup.tuning.found import passed_on
from selfsup.tuning.study import Study, Trial

SCORE, METHOD, MINUTES, SEEDS = "rotation", "simclr", 60, (1, 2)
IMAGES = 10_000
JUDGED = ("knn", "linear")
# suite -> what is typed: a third of a run of digits, a fifth of one of CIFAR-10, so that 60 core minutes are
# some fifteen to thirty trials. Digits have no colours to jitter: their temperature is searched instead.
SUITES = {
    "digits": "experiment=digits_simclr length=0.3333 space.method.temperature=[0.05,1.0,log]",
    "cifar10-cpu": "experiment=cifar10_cpu_simclr data=parquet length=0.2 "
    "data.train={data}/cifar10-train.parquet[:{images}] data.test={data}/cifar10-test.parquet",
}


def selfsup(command: str, settings: list[str]) -> None:
    """Type it, on one core: minutes are core minutes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    typed = [sys.executable, "-m", "selfsup.commands", command, *settings]
    if status := subprocess.run(typed, env=environment).returncode:
        raise SystemExit(f"{command} {' '.join(settings)} ended with {status}")


def judged(encoders: list[Path], data: list[str], seed: int, out: Path) -> dict[str, Any]:
    """The results of several encoders on the test images, made once."""
    if not out.is_file():
        names = f"encoder=[{','.join(map(str, encoders))}]"
        selfsup(
            "evaluate",
            [
                names,
                "protocols=[knn,linear]",
                "controls=false",
                *data,
                f"seed={seed}",
                f"out={out}",
                "cache=null",
            ],
        )
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def searched(command: list[str], folder: Path, minutes: float, count: int) -> list[Trial]:
    """The trials of the search, made or continued."""
    selfsup("tune", [*command, f"score={SCORE}", f"minutes={minutes:g}", f"trials={count}", f"out={folder}"])
    facts = json.loads((folder / "study.json").read_text())["facts"]
    return Study(folder, [], facts, 0).trials()


def retrained(train: dict[str, list[str]], folder: Path, data: list[str], seed: int) -> dict[str, Any]:
    """The winner and the settings as they are, with a fresh seed, and their difference on the test images."""
    encoders = []
    for name, settings in train.items():
        run = folder / f"{name}-{seed}"
        if not (run / "encoder" / "card.json").is_file():
            again = [f"resume={run}"] if run.exists() else [f"out={folder}", f"name={run.name}"]
            fresh = [f"seed={seed}", "online=none", "report=false", "evaluate=false"]
            selfsup("train", [*settings, *fresh, *again])
        encoders.append(run / "encoder")
    results = judged(encoders, data, seed, folder / f"results-{seed}.json")
    values = {
        row["name"].rpartition("-")[0]: {key: row["scores"][key]["value"] for key in JUDGED}
        for row in results["rows"]
    }
    return {"seed": seed, "values": values, "differences": results["comparison"]["differences"]}


def measured(suite: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One suite: the search, the diagnosis of its trials, and the winner's worth."""
    typed = SUITES[suite].format(data=arguments.data, images=IMAGES).split()
    command, folder = [*typed, *arguments.settings], arguments.runs / suite
    trials = searched(command, folder / "search", arguments.minutes, arguments.trials)
    scored = [each for each in trials if each.state == "complete" and each.value is not None]
    best = max(scored, key=lambda each: goodness(SCORE, each.value or 0.0))
    own = passed_on(command)
    data = [each for each in own if each.startswith("data")]
    data += experiment_data(own)
    diagnosis = judged(
        [folder / "search" / "trials" / f"{each.number:04d}" / "encoder" for each in scored],
        data,
        0,
        folder / f"diagnosis-{len(scored)}.json",
    )
    labelled = [{key: row["scores"][key]["value"] for key in JUDGED} for row in diagnosis["rows"]]
    worth = [goodness(SCORE, each.value or 0.0) for each in scored]
    train = {"found": [f"experiment={folder / 'search' / 'tuned.yaml'}"], "as-they-are": own}
    return {
        "suite": suite,
        "method": METHOD,
        "score": SCORE,
        "typed": " ".join(command),
        "minutes": round(sum(each.minutes for each in trials), 1),
        "lost": len(trials) - len(scored),
        "trials": [
            {"number": each.number, "values": each.values, "score": each.value, **labels}
            for each, labels in zip(scored, labelled, strict=True)
        ],
        "best": best.number,
        "spearman": {key: spearman(worth, [each[key] for each in labelled]) for key in JUDGED},
        "retrained": [retrained(train, folder, data, seed) for seed in SEEDS],
    }


def experiment_data(own: list[str]) -> list[str]:
    """Settings of the data that evaluate needs and the experiment has: the size of its images."""
    from selfsup.config import load_config

    config = load_config("train", own)
    return [f"data.image_size={config['data']['image_size']}"]


def main() -> None:
    """Measure the suites that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder in which the runs stay")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--data", default="../shared/data", help="folder of the parquet files")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of a search, on one core")
    parser.add_argument("--trials", type=int, default=60, help="at most; fewer than 60 keep no row")
    parser.add_argument("settings", nargs="*", help="key=value, as of selfsup tune, to try it; keeps no row")
    arguments = parser.parse_args()
    quiet()
    for suite in arguments.suites:
        row = measured(suite, arguments)
        print(json.dumps({key: row[key] for key in ("suite", "minutes", "best", "spearman")}))
        if not arguments.settings and arguments.trials >= 60 and arguments.minutes >= MINUTES:
            keep("tune", [row], "suite", "method", "score")


if __name__ == "__main__":
    main()
