"""The GPU there is, and arrays on their way to it. Torch and triton are looked for at the first call."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lotte.errors import UnavailableError

if TYPE_CHECKING:
    from torch import Tensor

MOVED = 1 << 26  # bytes that are on their way to the GPU at once


def package(name: str) -> Any:
    """Import torch or triton. Raises UnavailableError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        hint = "pip install torch" if name == "torch" else "pip install triton (Linux; PyTorch for CUDA brings it)"
        raise UnavailableError(f"code for a GPU needs {name}, which is not installed: {hint}") from None


def device() -> str:
    """Return where kernels run: "cuda", or "cpu" under Triton's interpreter. Raises UnavailableError without either."""
    package("triton")  # first: the quicker one to look for
    torch = package("torch")
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "cpu"
    raise UnavailableError(
        f"torch {torch.__version__} finds no CUDA GPU; use device=cpu (TRITON_INTERPRET=1 runs GPU code slowly)"
    )


def power_of_two(least: int, number: int) -> int:
    """Return the power of two at or above a number, and no less than `least`."""
    return max(least, 1 << (number - 1).bit_length())


def moved(array: NDArray[Any], where: Any) -> Tensor:
    """Return a mapped file's numbers on a device, with no second copy of it in memory on the way."""
    torch = package("torch")
    whole = array.view(np.int32) if array.dtype == np.uint32 else array  # below 2 ** 31, and torch is at home there
    out: Tensor = torch.empty(whole.shape, dtype=torch.from_numpy(np.empty(0, whole.dtype)).dtype, device=where)
    step = max(1, MOVED // max(1, whole[:1].nbytes))
    for first in range(0, len(whole), step):
        out[first : first + step] = torch.from_numpy(np.array(whole[first : first + step]))
    return out
