"""How threads wait and what is kept in memory is set before torch is loaded, and is the user's to choose."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SHOW = "from selfsup.commands import main; main(['train', 'data=folder', 'data.root=none']); import os, sys; "
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


SHAPES = """
from selfsup.runtime import prepare_process
prepare_process()
import torch
layer = torch.nn.Conv2d(64, 64, 3)
with torch.no_grad():
    for size in 2 * list(range(8, 168)):
        layer(torch.zeros(4, 64, size, 8))
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")
@pytest.mark.parametrize(("given", "again"), [({}, 160), ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}, 0)])
def test_few_shapes_are_remembered_unless_told_otherwise(given: dict[str, str], again: int) -> None:
    theirs = {k: v for k, v in os.environ.items() if "CACHE_CAPACITY" not in k} | given
    theirs["ONEDNN_VERBOSE"] = "2"  # a line for each preparation, whether it was remembered or not
    done = subprocess.run([sys.executable, "-c", SHAPES], env=theirs, capture_output=True, text=True)
    made = [line for line in done.stdout.splitlines() if "create" in line and ",convolution," in line]
    assert len(made) == 320, done.stderr
    assert sum("create:cache_miss" in line for line in made[160:]) == again


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without ideep")
def test_torch_asks_for_ideeps_limit_by_the_name_that_is_set() -> None:
    show = SHOW.replace("GOMP_SPINCOUNT", "LRU_CACHE_CAPACITY")
    theirs = {k: v for k, v in os.environ.items() if k != "LRU_CACHE_CAPACITY"}
    done = subprocess.run([sys.executable, "-c", show], env=theirs, capture_output=True, text=True)
    assert done.stdout.split() == ["128", "False"], done.stderr
    # Nothing tells how many shapes ideep remembers; the name it looks for stands in torch's library.
    (library,) = (Path(torch.__file__).parent / "lib").glob("*torch_cpu.[sd][oyl]*")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert content.find(b"\0LRU_CACHE_CAPACITY\0") >= 0
