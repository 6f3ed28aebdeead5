"""Which form of the kernels runs: the kinds of registers and of dot products that a processor may have.

The processor decides; LOTTE_KERNELS names one of them. All give the same bytes.
"""

import ctypes
import os
import platform
from functools import cache
from typing import NamedTuple

import numba as nb
from llvmlite import binding

from lotte.errors import UnavailableError, unknown

# how four products of an unsigned byte with a signed one are added to a number of 32 bits
VNNI, PAIRS, USDOT, SDOT, PORTABLE = range(5)  # vpdpbusd; vpmaddwd, of 16 bits; usdot; sdot; any processor


class Form(NamedTuple):
    """How a processor makes dot products of bytes."""

    name: str
    width: int  # numbers of 32 bits in a register
    step: int  # VNNI, PAIRS, USDOT, SDOT or PORTABLE


NAMES = ("amx", "avx512", "avxvnni", "avx2", "neon", "plain")  # the first that a processor has is the fastest
_FORMER = {"vectors": "avx512"}
_ARCH_PRCTL, _ASK, _TILE_DATA = 158, 0x1023, 18  # the system call, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
_OF_AVX2 = ("avx2", "fma")
_OF_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")


@cache
def features() -> dict[str, bool]:
    """Return what this processor can do; nothing, where LLVM cannot tell."""
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:
        return {}


def _has(*needs: str) -> bool:
    return all(features().get(need, False) for need in needs)


def has_tiles() -> bool:
    """Return whether this processor has matrix registers for bytes, and the system lets this process use them."""
    if platform.system() != "Linux" or not _has("amx-int8", "amx-tile"):
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK, _TILE_DATA) == 0)


@cache
def is_here(name: str) -> bool:
    """Return whether this processor can run a form."""
    if name == "amx":
        return is_here("avx512") and has_tiles()
    if name == "avxvnni":  # the instruction is in the 256-bit part of AVX-512 VNNI too
        return _has(*_OF_AVX2) and (_has("avxvnni") or _has(*_OF_AVX512))
    needs = {"avx512": _OF_AVX512, "avx2": _OF_AVX2, "neon": ("neon", "dotprod")}
    return name == "plain" or _has(*needs[name])


@cache
def form() -> Form:
    """Return the fastest form that this processor has, or the one that LOTTE_KERNELS names.

    Raises  UnknownNameError for a name that is none; UnavailableError if the processor has no such instructions
    """
    here = [name for name in NAMES if is_here(name)]
    wanted = os.environ.get("LOTTE_KERNELS") or here[0]
    name = _FORMER.get(wanted, wanted)
    if name not in NAMES:
        raise unknown("LOTTE_KERNELS", wanted, NAMES)
    if name not in here:
        raise UnavailableError(
            f"LOTTE_KERNELS={wanted} asks for instructions that this processor does not have; it has {', '.join(here)}"
        )
    return _FORMS.get(name) or Form("neon", 4, USDOT if _has("i8mm") else SDOT)


_FORMS = {
    "amx": Form("amx", 16, VNNI),
    "avx512": Form("avx512", 16, VNNI),
    "avxvnni": Form("avxvnni", 8, VNNI),
    "avx2": Form("avx2", 8, PAIRS),
    "plain": Form("plain", 4, PORTABLE),
}


def limit_compiler() -> None:
    """Let numba make code for a processor that has no more than the form that LOTTE_KERNELS names."""
    least = {"avx2": "haswell", "avxvnni": "alderlake"}.get(os.environ.get("LOTTE_KERNELS", ""))
    if least and (least == "haswell" or _has("avxvnni")):
        nb.config.CPU_NAME, nb.config.CPU_FEATURES = least, ""
