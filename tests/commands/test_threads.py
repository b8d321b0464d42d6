"""How threads wait and memory is kept is set before torch is loaded, and is the user's to choose."""

import os
import subprocess
import sys

import pytest

SHOW = "from selfsup.commands import main; main(['train', 'batch_size=0']); import os, sys; "
SHOW += "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_wait_briefly_unless_told_otherwise(given: dict[str, str], kept: str) -> None:
    theirs = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", SHOW], env=theirs | given, capture_output=True, text=True)
    assert done.stdout.split() == [kept, "False"], done.stderr


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")])
def test_large_pages_are_asked_for_unless_told_otherwise(given: dict[str, str], kept: str) -> None:
    show = SHOW.replace("GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE")
    theirs = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", show], env=theirs | given, capture_output=True, text=True)
    assert done.stdout.split() == [kept, "False"], done.stderr
