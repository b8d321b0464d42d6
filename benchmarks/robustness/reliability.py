"""Runs killed at random moments, the cost of surviving, and the tests of all other faults.

    python -m benchmarks.robustness.reliability --kills  # eleven a method, beside a run without
    python -m benchmarks.robustness.reliability --cost   # of checkpoints and callbacks, shares of a run
    python -m benchmarks.robustness.reliability --tests  # the tests that the page's table names

Each part is written to ``benchmarks/results/reliability.jsonl`` as it ends; a method that is there is not
killed again.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks.robustness import kills
from benchmarks.rows import METHODS, ROOT, keep, read
from benchmarks.speed import survival_cost

KEYS = ("part", "method", "test")  # keys that identify a row
STEPS, EVERY = 90, 2  # of a run that is killed; optimizer steps between its checkpoints
TESTS = ("tests/test_strangers.py", "tests/run", "tests/callbacks/test_finite.py")
TESTS += ("tests/callbacks/test_checkpoints.py",)


def kill(method: str, out: Path, seed: int) -> dict[str, Any]:
    """One run of a method without a kill, and one with eleven."""
    draw = random.Random(seed)
    settings = [f"data.root={out / 'photos'}", *kills.small(method)]
    settings += [f"trainer.max_steps={STEPS}", f"trainer.checkpoint_steps={EVERY}"]
    training = [*kills.WHILE_TRAINING, kills.at_any_time, kills.at_any_time]
    draw.shuffle(training)
    kills.kill_and_resume(out, f"{method}-straight", settings, [])
    # The encoder is saved before it is judged, and the results are noted last.
    order = (kills.while_saving_the_encoder, kills.during_the_evaluation, kills.before_the_results_are_noted)
    told = kills.kill_and_resume(out, f"{method}-killed", settings, [*training, *order], seed=100 * seed)
    if late := [each["moment"] for each in told if each["exit"] == 0]:
        raise SystemExit(f"{method} was done before {', '.join(late)}; raise STEPS")
    differs = kills.differences(out / f"{method}-straight", out / f"{method}-killed")
    return {
        "method": method,
        "steps": STEPS,
        "checkpoint_every": EVERY,
        "kills": told,
        "differences": differs,
    }


def tested() -> dict[str, dict[str, int]]:
    """How often each test ran, by outcome."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *TESTS]
        subprocess.run(command, cwd=ROOT, check=False)
        cases = list(ET.parse(report).getroot().iter("testcase"))
    found: dict[str, dict[str, int]] = {}
    for case in cases:
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if child.tag == "skipped" else "failed"
        name = case.attrib["name"].partition("[")[0]
        counts = found.setdefault(name, {})
        counts[outcome] = counts.get(outcome, 0) + 1
    return found


def main() -> None:
    """Measure the parts that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for part in ("kills", "cost", "tests"):
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    killed = {row["method"] for row in read("reliability") if row["part"] == "kills"}
    if arguments.kills:
        for seed, method in enumerate(METHODS):
            if method not in arguments.methods or method in killed:
                continue
            with tempfile.TemporaryDirectory() as out:
                kills.make_photos(Path(out) / "photos")
                row = {"part": "kills", **kill(method, Path(out), seed)}
            keep("reliability", [row], *KEYS)
            print(method, row["differences"] or "the same", row["kills"], flush=True)
    if arguments.cost:
        large = ("method=dino", "backbone=vit_small", "data.image_size=96", "batch_size=8")
        runs = {"dino, ViT-S": large} | {name: (f"experiment=digits_{name}",) for name in arguments.methods}
        for name, settings in runs.items():
            row = {"part": "cost", **survival_cost.cost(name, *settings)}
            keep("reliability", [row], *KEYS)
            print(row, flush=True)
    if arguments.tests:
        examples = int(re.search(r"max_examples=(\d+)", (ROOT / TESTS[0]).read_text())[1])
        rows = [{"part": "tests", "test": name, **found} for name, found in tested().items()]
        fuzzed = [{**row, "examples": examples} if "fuzzed" in row["test"] else row for row in rows]
        keep("reliability", fuzzed, *KEYS)


if __name__ == "__main__":
    main()
