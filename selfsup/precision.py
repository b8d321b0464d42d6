"""What this machine computes fast."""

import functools
import logging
from typing import TYPE_CHECKING, Any

from selfsup.errors import UsageError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "auto")
_logger = logging.getLogger(__name__)


def require_precision(key: str, value: Any) -> None:
    """Raise a UsageError unless it is one of an encoder's passes; torch is not imported for it."""
    if value not in PRECISIONS:
        raise UsageError(f"{key} is float32, bfloat16 or auto, not '{value}'")


def of_passes(asked: str, device: "torch.device") -> str:
    """``"float32"`` or ``"bfloat16"``: what is asked for; of ``"auto"``, what is faster on the device.

    Says once, in a sentence, that bfloat16 is asked of a CPU which has to imitate it.
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
    """Log, the first time, that the CPU has not even AVX-512, with which bf16 products are imitated fast."""
    import torch

    abilities = torch.cpu.get_capabilities()
    if abilities.get("architecture") == "x86_64" and not abilities.get("avx512_f"):
        _logger.warning(
            "this CPU has no bfloat16 arithmetic, and imitating it takes many times as long as float32; "
            "take float32 (trainer.precision=32-true), or auto, which takes what is faster"
        )
