"""Break the objectives on purpose, one change at a time, and see whether a test notices.

    python -m benchmarks.robustness.mutations                # all of them, two at a time
    python -m benchmarks.robustness.mutations --only spread  # and keeps the results of the other files

A mutation replaces a text in one file of ``selfsup/objectives`` in a copy of the checkout, and runs the tests
of that folder until one fails, the likeliest ones first. A mutation that survives is a hole in the tests.
Results go to ``benchmarks/results/mutations.jsonl``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.robustness.mutation_cases import LIKELIEST, MUTATIONS
from benchmarks.rows import ROOT, keep

FOLDER = Path("selfsup/objectives")


def killer(file: str, old: str, new: str) -> str | None:
    """The first test that fails with this mutation, or None if all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("selfsup", "tests/objectives", "configs", "pyproject.toml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        path = copy / FOLDER / f"{file}.py"
        text = path.read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{file}: '{old}' occurs {text.count(old)} times, not once")
        path.write_text(text.replace(old, new))
        # The test of this very list would notice any change.
        (copy / "tests/objectives/test_page.py").unlink()
        tests = ["tests/objectives", str(FOLDER), "--doctest-modules"]
        if "masks" in file or file == "rectangles":
            tests = ["tests/objectives/test_masks.py", str(path.relative_to(copy)), "--doctest-modules"]
        return _first_failure(copy, [*tests, "-k", LIKELIEST[file]]) or _first_failure(copy, tests)


def _first_failure(checkout: Path, tests: list[str]) -> str | None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pytest ended without a failed test:\n{done.stdout[-2000:]}")
    return found.group(1)


def main() -> int:
    """Try the mutations; 1 if one survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MUTATIONS, default=list(MUTATIONS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    tried = [(file, old, new) for file in arguments.only for old, new in MUTATIONS[file]]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows: list[dict[str, Any]] = []
        for (file, old, new), noticed in zip(tried, pool.map(lambda m: killer(*m), tried), strict=True):
            rows.append({"file": f"{FOLDER}/{file}.py", "old": old, "new": new, "noticed_by": noticed})
            keep("mutations", rows[-1:], "file", "old", "new")  # in case the rest is stopped
            print(f"{'noticed ' if noticed else 'SURVIVED'} {file}: {old!r} -> {new!r}", flush=True)
    survived = [row for row in rows if row["noticed_by"] is None]
    print(f"{len(rows)} mutations, {len(survived)} survived")
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
