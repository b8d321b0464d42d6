"""What a run asks of the libraries below it: memory, threads, and what they print.

None of it is needed for right results. What each saves, on two cores (an Intel Xeon with AMX), and how that
was measured:

| function | saves | measured by |
| --- | --- | --- |
| `keep_freed_memory` | 5 to 15 % of a step | default runs with and without, in turn |
| `wait_briefly` | half of a step beside one busy process | the same, beside `yes > /dev/null` |
| `cores.watch` | nearly all of a step beside one busy process | `benchmarks.speed.shared` |
| `remember_few_shapes` | 150 of 300 MiB after forty steps of published I-JEPA masks | peak memory of both |
| `look_for_gpus_once` | 0.25 ms a step of AdamW where there is no GPU | `benchmarks.speed.overhead` |
"""

import ctypes
import logging
import os
import sys
import warnings

from selfsup import cores

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SHAPES = "128"


def prepare_process() -> None:
    """Set what has to be set before torch is imported."""
    keep_freed_memory()
    wait_briefly()
    remember_few_shapes()
    cores.watch()


def keep_freed_memory() -> None:
    """Have the C library keep the memory that tensors free, instead of returning it after each.

    Every step needs the same again, and fresh pages cost a fault each. Only the GNU library has these two
    settings (``mallopt``, malloc.h); others are left alone. Blocks beyond 32 MiB it returns all the same. For
    them torch, which looks when it first needs memory, asks for pages of 2 MiB, 512 times fewer, unless the
    environment says otherwise.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def wait_briefly() -> None:
    """Limit OpenMP spinning, unless the environment says otherwise.

    By default GNU OpenMP's threads wait by spinning, for milliseconds. Where another process has one of
    the cores, every small operation then waits for the scheduler. The limit costs some speed where the
    machine is quiet. OpenMP reads it when it is loaded, so it must be set before torch is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"


def remember_few_shapes() -> None:
    """Cap the oneDNN primitive cache, unless the environment says otherwise.

    oneDNN, and ideep between it and torch, keep what they have prepared for each of the last 1,024 shapes:
    much where shapes differ from step to step. With 128, steps of ResNets are as fast.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _SHAPES)
    os.environ.setdefault("LRU_CACHE_CAPACITY", _SHAPES)  # ideep's


def look_for_gpus_once() -> None:
    """Where there is no GPU, keep torch from searching for one at every step of AdamW.

    Lightning has torch ask NVML, the driver's library, which it then tries to open each time. Without NVML
    torch remembers what it found.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def quiet() -> None:
    """Keep Lightning's remarks about its own settings off the terminal."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    # lightly's DINO head uses the form of weight norm that torch will drop one day.
    warnings.filterwarnings("ignore", message=".*weight_norm.*deprecated", category=FutureWarning)
