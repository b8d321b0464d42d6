"""No number in the pages' tables is typed by hand."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_hold_what_the_results_say() -> None:
    command = [sys.executable, "-m", "benchmarks.tables", "--check"]
    assert subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip() == "up to date"
