"""Views on a CPU by native.cpp, which the system's compiler compiles on first use.

The library is kept in the user's cache folder (``XDG_CACHE_HOME``), under a name made of the source, the
compiler's command and the processor. Its values are those of :mod:`selfsup.views.image.colour` to 1e-5.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from selfsup.views.image.colour_params import ColourParams

_SOURCE = Path(__file__).with_name("native.cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-pthread")
_COMPILERS = ("c++", "g++", "clang++")
_logger = logging.getLogger(__name__)


def render(
    images: Tensor,
    params: ColourParams,
    mean: Tensor,
    std: Tensor,
    size: int,
    boxes: Tensor | None = None,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Normalised views ``(N, 3, size, size)`` float32, channels last, in as many threads as torch uses.

    Args:
        images: in [0, 255], uint8 or float, on the CPU: crops ``(N, 3, size, size)``, or with ``boxes``
            whole images ``(N, 3, H, W)``.
        params: of each of the N.
        mean, std: ``(3,)``, of values in [0, 1].
        boxes, mirrored: ``(N, 4)`` int64 and ``(N,)`` bool of :meth:`ViewPlan.where`.
    """
    library = load()
    assert library is not None, "there is no native path; ask available() first"
    images = images if images.dtype == torch.uint8 else images.float()
    planar, interleaved = images.stride(3) == 1, images.stride(1) == 1 and images.stride(3) == 3
    images = images if planar or interleaved else images.contiguous()
    views = torch.empty((len(images), size, size, 3))
    table = _table(params, len(images))
    boxes = None if boxes is None else boxes.contiguous()
    mirrored = None if mirrored is None else mirrored.contiguous()
    mean, scale = mean.float().contiguous(), 1 / std.float().contiguous()
    library.selfsup_views(
        images.data_ptr(),
        images.dtype != torch.uint8,
        (ctypes.c_int64 * 4)(*images.shape),
        (ctypes.c_int64 * 4)(*images.stride()),
        None if boxes is None else boxes.data_ptr(),
        None if mirrored is None else mirrored.data_ptr(),
        size,
        table.data_ptr(),
        mean.data_ptr(),
        scale.data_ptr(),
        views.data_ptr(),
        torch.get_num_threads(),
    )
    return views.permute(0, 3, 1, 2)


def planes(image: Tensor, mirror: bool) -> Tensor:
    """The first three channels, uint8 ``(3, H, W)``, of an image ``(3 or 4, H, W)``, mirrored or not.

    Raises:
        ValueError: if it is not such an image: compiled code would read past its end.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) not in (3, 4):
        raise ValueError(f"an image must be uint8 (3 or 4, H, W), not {image.dtype} {tuple(image.shape)}")
    library = load()
    assert library is not None, "there is no native path; ask available() first"
    pixels = image.permute(1, 2, 0).contiguous()
    channels, height, width = image.shape
    made = torch.empty(3, height, width, dtype=torch.uint8)
    library.selfsup_planes(pixels.data_ptr(), channels, height, width, mirror, made.data_ptr())
    return made


def _table(params: ColourParams, n: int) -> Tensor:
    """Parameters as the rows of 12 floats that native.cpp reads."""
    table = torch.zeros(n, 12)
    if params.jitter is not None:
        table[:, 0:4], table[:, 4:8], table[:, 8] = params.jitter, params.order, 1
    for column, values in ((9, params.grey), (10, params.sigma), (11, params.solarized)):
        if values is not None:
            table[:, column] = values
    return table


def available() -> bool:
    """Whether views can be made natively; logs once why not."""
    return load() is not None


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, compiled if necessary; ``None`` if that fails, which is logged."""
    try:
        library = ctypes.CDLL(str(_library()))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        # Once is enough: the training process logs it, its loading processes do not.
        level = logging.WARNING if get_worker_info() is None else logging.DEBUG
        _logger.log(
            level,
            "views on the CPU are made by torch, several times slower than by compiled code: %s "
            "(native_views=false silences this)",
            reason,
        )
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.selfsup_views.argtypes = [pointer, number, *[pointer] * 4, number, *[pointer] * 4, number]
    library.selfsup_planes.argtypes = [pointer, *[number] * 4, pointer]
    for function in (library.selfsup_views, library.selfsup_planes):
        function.restype = None
    return library


def cxx() -> str | None:
    """The command of this machine's C++ compiler, if it has one: that in ``CXX``, or the system's."""
    named = os.environ.get("CXX", "").strip()
    return next((each for each in ([named] if named else _COMPILERS) if shutil.which(each.split()[0])), None)


def _library() -> Path:
    """The library's file, compiled unless it is there."""
    compiler = cxx()
    if compiler is None:
        raise RuntimeError(f"there is no C++ compiler ({os.environ.get('CXX') or 'c++, or the one in CXX'})")
    command = [*compiler.split(), *_FLAGS, "-shared"]
    identity = "\0".join([_SOURCE.read_text(encoding="utf-8"), *command, _processor()])
    name = f"views-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfsup"
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Processes may compile at the same time: each into its own folder, and the last one wins.
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = Path(own) / name
            done = subprocess.run([*command, str(_SOURCE), "-o", str(made)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
            made.replace(folder / name)
    return folder / name


def _processor() -> str:
    """The processor's identity for its compiled code; several machines may share a home folder."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    seen = sorted(
        {line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features")}
    )
    return "\n".join([platform.machine(), platform.processor(), *seen])
