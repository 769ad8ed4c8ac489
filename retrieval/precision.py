"""Which number format matrix products should use on this machine."""

from __future__ import annotations

from functools import cache


@cache
def fast_bfloat16(device: str = "cpu") -> bool:
    """Say whether bfloat16 products are faster than float32 ones on `device` (a torch device type).

    A CPU without the instructions (AVX-512 bf16 or AMX) computes them one number at a time: a hundred times slower
    than float32 where others are four times faster, and most laptops are without.
    """
    import torch

    if device != "cpu":
        return device != "cuda" or torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
