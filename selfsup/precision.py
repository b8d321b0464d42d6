"""Choosing a precision for this machine."""

import functools
import logging
from typing import TYPE_CHECKING, Any

from selfsup.errors import UsageError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "auto")
_logger = logging.getLogger(__name__)


def require_precision(key: str, value: Any) -> None:
    """Raise a UsageError for an unknown precision of an encoder's passes, without importing torch."""
    if value not in PRECISIONS:
        raise UsageError(f"{key} must be float32, bfloat16 or auto, not '{value}'")


def of_passes(asked: str, device: "torch.device") -> str:
    """``"float32"`` or ``"bfloat16"``: the setting, or for ``"auto"`` the faster one on the device.

    Logs once if bfloat16 is emulated on this CPU.
    """
    import torch

    if asked == "auto":
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if on_gpu or (device.type == "cpu" and multiplies_bf16()) else "float32"
    if asked == "bfloat16" and device.type == "cpu":
        tell_imitation()
    return asked


def multiplies_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices faster than float32 ones.

    Those do that have AMX, and AMD's that have AVX-512 BF16: about twice as fast for both ResNets and vision
    transformers. Intel's AVX-512 BF16 without AMX computes both at one rate, and the casts come on top.
    """
    import torch

    abilities = torch.cpu.get_capabilities()
    of_intel = "intel" in str(abilities.get("cpu_name", "")).lower()
    return bool(abilities.get("amx_bf16") or (abilities.get("avx512_bf16") and not of_intel))


@functools.cache
def tell_imitation() -> None:
    """Log, the first time, that the CPU does not have AVX-512, which emulates bf16 products fast."""
    import torch

    abilities = torch.cpu.get_capabilities()
    if abilities.get("architecture") == "x86_64" and not abilities.get("avx512_f"):
        _logger.warning(
            "bfloat16 is emulated on this CPU and takes many times as long as float32; "
            "take float32 (trainer.precision=32-true), or auto, which takes the faster one"
        )
