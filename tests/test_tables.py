"""No number in the pages' tables is typed by hand."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_hold_what_the_results_say() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "table.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "up to date"
