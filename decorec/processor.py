"""Instructions of the processor: lets the numeric libraries compute with the same ones on every machine.

By default each library takes the best instructions that it finds. They sum in another order and have other polynomials
for exp, so that the last digits of a result depend on the processor, and after a training the first ones as well.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from decorec.errors import DecorecError

__all__ = ["FLAG", "LIBRARIES", "emulates", "flags", "pin", "pinned"]

FLAG = "--reproducible"
"""Flag of a step that has to be pinned."""

LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
"""Environment variables for the number of threads, which the numeric libraries read when they are imported."""
PINS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and products of torch
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops
    # MKL's products and exp in torch. With AVX2 it would still take other code on processors of other makers than
    # Intel; this is the only branch that is the same for all.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",  # products of numpy and scipy
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # numpy's own loops; what is left is AVX2
}
"""Environment variables that the libraries read when they are loaded."""
EXCLUDED = "NPY_ENABLE_CPU_FEATURES"
"""numpy refuses to start with both lists."""
NEEDED = frozenset({"avx2", "fma"})
HALVES = {"bf16": {"avx512_bf16", "amx_bf16"}, "fp16": {"avx512_fp16", "amx_fp16"}}
"""Precision -> instructions, of which a processor needs one to multiply in it."""
CPUINFO = Path("/proc/cpuinfo")


def pin() -> None:
    """Let the libraries use AVX2 and nothing beyond; must be called before their import.

    Raises:
        DecorecError: the processor does not have AVX2 and FMA, and the libraries would take something else.
    """
    missing = sorted(NEEDED - flags())
    if platform.machine() != "x86_64" or missing:
        raise DecorecError(
            f"reproducible: expected Linux on an x86-64 processor with AVX2 and FMA, found {platform.system()} on "
            f"{platform.machine()}{' without ' + ' and '.join(missing) if missing else ''}; compute on another "
            "machine, or set reproducible to false"
        )
    os.environ.update(PINS)
    os.environ.pop(EXCLUDED, None)


def pinned() -> bool:
    """Whether this process and those that it starts have been pinned."""
    return all(os.environ.get(variable) == value for variable, value in PINS.items())


def flags() -> set[str]:
    """What the processor can do, in Linux's words."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def emulates(precision: str) -> bool:
    """Whether this process would compute in ``precision`` by conversions, on a processor: slower than fp32."""
    return precision in HALVES and (pinned() or not HALVES[precision] & flags())
