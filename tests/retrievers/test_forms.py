"""Every form of the kernels that this processor can run answers as the judge does: test_kernels.py, once a form."""

import os
import subprocess
import sys

import pytest
from places import TESTS

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")

from lotte.errors import LotteError
from retrievers.colbert.kernels.vectors import forms

KERNELS = TESTS / "retrievers" / "test_kernels.py"


def again(*options, **variables):
    """Run the tests of the kernels in another process."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(KERNELS), "-p", "no:cacheprovider"]
    return subprocess.run([*command, *options], env={**os.environ, **variables}, capture_output=True, text=True)


@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize("kernels", forms.NAMES)
def test_another_form_than_the_fastest_answers_the_same(kernels):
    if kernels == forms.form().name or os.environ.get("LOTTE_KERNELS"):
        pytest.skip("test_kernels.py ran this form, or one was asked for")
    if not forms.is_here(kernels):
        pytest.skip(f"this processor has no {kernels}")
    done = again(LOTTE_KERNELS=kernels)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow(seconds=40)
def test_code_for_matrix_registers_answers_the_same_where_vectors_play_them():
    if forms.form().name != "avx512":
        pytest.skip("this processor has matrix registers, or no vectors that could play them")
    done = again("-p", "played_tiles", PYTHONPATH=str(TESTS / "helpers"))
    assert done.returncode == 0, done.stdout + done.stderr


IN_SHORT = """
from retrievers.colbert.kernels import centroids, compile
import numpy as np
made = centroids._nearest(128, 0, 4)
made(np.zeros((1, 128 * 64), "u1"), np.zeros((4, 128), "u1"), np.zeros(32, "i4"), np.zeros(32, "i4"), compile.CONFIG)
print(" ".join({word.strip("%,")[:3] for text in made.inspect_asm().values() for word in text.split() if word.strip("%,")[:3] in ("xmm", "ymm", "zmm")}))
"""


def test_code_for_avx2_has_no_register_that_avx2_lacks(tmp_path):
    """Numba is told to make code for such a processor, so what runs here is what runs there."""
    if not forms.is_here("avx2"):
        pytest.skip("this processor has no AVX2")
    env = {**os.environ, "LOTTE_KERNELS": "avx2", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", IN_SHORT], env=env, capture_output=True, text=True)
    assert {"ymm"} <= set(done.stdout.split()) <= {"ymm", "xmm"}, done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [("avx3", "no LOTTE_KERNELS is named 'avx3'"), ("neon", "asks for instructions that this processor does not have")],
)
def test_a_form_that_cannot_be_had_is_one_line(name, says, monkeypatch):
    if name in forms.NAMES and forms.is_here(name):
        pytest.skip(f"this processor has {name}")
    monkeypatch.setenv("LOTTE_KERNELS", name)
    forms.form.cache_clear()
    try:
        with pytest.raises(LotteError, match=says):
            forms.form()
    finally:
        forms.form.cache_clear()
