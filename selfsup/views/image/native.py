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
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from selfsup.sides import MOST_CHANNELS
from selfsup.views.image.colour_params import OF_VALUES, ColourParams

_SOURCE = Path(__file__).with_name("native.cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-pthread")
_COMPILERS = ("c++", "g++", "clang++")
_logger = logging.getLogger(__name__)


def render(
    images: Tensor,
    params: ColourParams,
    mean: Tensor,
    std: Tensor,
    size: tuple[int, int],
    colours: bool = True,
    place: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Normalised views ``(N, C, h, w)`` float32, channels last, in as many threads as torch uses.

    Args:
        images: in [0, 255], uint8 or float, on the CPU: crops ``(N, C, h, w)``, or with a ``place``
            whole images ``(N, C, H, W)``.
        params: of each of the N.
        mean, std: ``(C,)``, of values in [0, 1].
        size: h and w.
        colours: whether the channels are red, green and blue.
        place: boxes and mirroring, ``(N, 4)`` int64 and ``(N,)`` bool of :meth:`ViewPlan.where`.

    Raises:
        ValueError: images of other channels or of another size: compiled code would read past their end.
    """
    n, channels, *sides = images.shape
    if not 1 <= channels <= MOST_CHANNELS or len(mean) != channels or (colours and channels != 3):
        raise ValueError(f"these are views of {len(mean)} channels, and the images have {channels}")
    if place is None and tuple(sides) != tuple(size):
        raise ValueError(f"crops must be of {size} pixels, not {tuple(sides)}")
    library = load()
    assert library is not None, "there is no native path; ask available() first"
    images = images if images.dtype == torch.uint8 else images.float()
    planar, interleaved = images.stride(3) == 1, images.stride(1) == 1 and images.stride(3) == channels
    images = images if planar or interleaved else images.contiguous()
    views = torch.empty((n, *size, channels))
    table = _table(params, n, channels)
    keys = None if params.noise is None else params.noise.contiguous()
    boxes, mirrored = (None, None) if place is None else (part.contiguous() for part in place)
    mean, scale = mean.float().contiguous(), 1 / std.float().contiguous()
    library.selfsup_views(
        images.data_ptr(),
        images.dtype != torch.uint8,
        (ctypes.c_int64 * 4)(*images.shape),
        (ctypes.c_int64 * 4)(*images.stride()),
        None if boxes is None else boxes.data_ptr(),
        None if mirrored is None else mirrored.data_ptr(),
        *size,
        colours,
        table.data_ptr(),
        table.shape[1],
        mean.data_ptr(),
        scale.data_ptr(),
        None if keys is None else keys.data_ptr(),
        OF_VALUES,
        params.deviation,
        views.data_ptr(),
        torch.get_num_threads(),
    )
    return views.permute(0, 3, 1, 2)


def planes(image: Tensor, mirror: bool, channels: int = 3) -> Tensor:
    """The first ``channels``, uint8 ``(channels, H, W)``, of an image ``(C, H, W)``, mirrored or not.

    Raises:
        ValueError: if it is not such an image: compiled code would read past its end.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) < channels:
        raise ValueError(
            f"an image must be uint8 ({channels} or more, H, W), not {image.dtype} {tuple(image.shape)}"
        )
    library = load()
    assert library is not None, "there is no native path; ask available() first"
    pixels = image.permute(1, 2, 0).contiguous()
    step, height, width = image.shape
    made = torch.empty(channels, height, width, dtype=torch.uint8)
    library.selfsup_planes(pixels.data_ptr(), step, channels, height, width, mirror, made.data_ptr())
    return made


def _table(params: ColourParams, n: int, channels: int) -> Tensor:
    """Parameters as the rows of floats that native.cpp reads: 12, and three a channel where it needs them."""
    single = params.channels is not None or params.dropped is not None
    table = torch.zeros(n, 12 + 3 * channels * single)
    if params.jitter is not None:
        table[:, 0:4], table[:, 4:8], table[:, 8] = params.jitter, params.order, 1
    if params.channels is not None:
        table[:, 4:8], table[:, 8] = params.order, 1
        table[:, 12 : 12 + 2 * channels] = params.channels.flatten(1)
    if params.dropped is not None:
        table[:, 12 + 2 * channels :] = params.dropped
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
    views: tuple[Any, ...] = (pointer, number, *[pointer] * 4, number, number, number, pointer, number)
    library.selfsup_views.argtypes = [*views, *[pointer] * 3, number, ctypes.c_double, pointer, number]
    library.selfsup_planes.argtypes = [pointer, *[number] * 5, pointer]
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
