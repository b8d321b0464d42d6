"""What this machine's CPU computes fast."""

import torch


def multiplies_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices faster than float32 ones.

    Those do that have AMX, and AMD's that have AVX-512 BF16: about twice as fast for both ResNets and vision
    transformers. Intel's AVX-512 BF16 without AMX computes both at one rate, and the casts come on top.
    """
    abilities = torch.cpu.get_capabilities()
    of_intel = "intel" in str(abilities.get("cpu_name", "")).lower()
    return bool(abilities.get("amx_bf16") or (abilities.get("avx512_bf16") and not of_intel))
