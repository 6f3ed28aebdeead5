"""Where the kernels of a GPU can run, and what their tests share: without a GPU, Triton's interpreter runs them."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from lotte.errors import UnavailableError
from retrievers.colbert.kernels import gpu


def reason() -> str:
    """Return why no kernel can run here; nothing if one can."""
    try:
        gpu.device()
    except UnavailableError as error:
        return str(error)
    return ""


WHY = reason()
runs = pytest.mark.skipif(bool(WHY), reason=WHY)
few = settings(max_examples=12)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def tensor(array):
    return gpu.moved(np.ascontiguousarray(array), gpu.device())
